"""Training under guarantee `exact`: one pass over the data, and sums.

    run, metrics = train_exact(TrainConfig(dataset="bloodmnist", guarantee="exact"), settings, console)

The rows do not depend on the order of the data, on `--batch-size` or on which other classes there were.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pfedge.backbone.backbone import load_backbone
from pfedge.backbone.embedding import DEFAULT_DIM, Embedding, EmbeddingSpec, describe_embedding
from pfedge.compute import choose_device
from pfedge.data import Dataset, Split
from pfedge.errors import DataError, RunError
from pfedge.guarantees.exact.model import SCALE_BITS, ExactModel, embed_split
from pfedge.guarantees.shared.train import SAVE_SECONDS, Settings, TrainConfig, describe_run, open_dataset
from pfedge.interrupt import StopRequest, TrainingInterruptedError
from pfedge.progress import bars
from pfedge.runs.run import Run
from pfedge.training import plots
from pfedge.training.calibration import ACCEPTANCE
from pfedge_runtime.bank import RowKey, RowStatistics, StatisticsBank, own_threshold, quantise, summarise

FLUSH = 512
Rows = dict[RowKey, RowStatistics]


class Accumulator:
    """Sums embeddings into rows, a few hundred at a time."""

    def __init__(self, rows: Rows, scale_bits: int = SCALE_BITS) -> None:
        """Go on from `rows`."""
        self.rows = dict(rows)
        self._waiting: dict[RowKey, list[NDArray[np.int64]]] = {}
        self._bits = scale_bits

    def add(self, keys: list[RowKey], embedded: NDArray[np.float32]) -> None:
        """Add embeddings `[n, E]`, each to its row."""
        for key, vector in zip(keys, quantise(embedded, self._bits), strict=True):
            waiting = self._waiting.setdefault(key, [])
            waiting.append(vector)
            if len(waiting) == FLUSH:
                self._flush(key)

    def finish(self) -> Rows:
        """Return all rows."""
        for key in list(self._waiting):
            self._flush(key)
        return self.rows

    def _flush(self, key: RowKey) -> None:
        more = summarise(np.stack(self._waiting.pop(key)))
        self.rows[key] = self.rows[key] + more if key in self.rows else more


def train_exact(config: TrainConfig, settings: Settings, console: Console) -> tuple[Run, dict[str, Any]]:
    """Sum a data set into rows and write a run folder; return it and its metrics.

    Raises:
        PfedgeError: the data set, backbone, device or run folder cannot be used.
        TrainingInterruptedError: Ctrl-C; the sums are saved, and `resume` continues from them.
    """
    device = choose_device(settings.device, settings.gpu_id)
    backbone = load_backbone(config.model_name, image_size=config.image_size)
    dim = DEFAULT_DIM if config.embedding_dim is None else config.embedding_dim
    spec = EmbeddingSpec(config.embedding_blocks, dim)
    embedding = Embedding(backbone, spec).eval().to(device)
    dataset = open_dataset(config, settings, backbone)
    class_ids = dataset.present()
    described = describe_run(config, dataset, class_ids, backbone) | {"embedding": describe_embedding(embedding)}
    run = Run.create(settings.out, described, resume=settings.resume, overwrite=settings.overwrite)
    before, next_input = run.load_rows() if settings.resume else (None, 0)
    with StopRequest(lambda: console.print("stopping after this batch ...")) as stop:
        _announce(console, dataset, class_ids, embedding)
        begun = before.rows if before else {}
        rows, seconds = _sum(run, embedding, dataset, begun, next_input, config, console, stop)
    rows = _calibrate(embedding, dataset.val.only(class_ids), rows, console)
    model = ExactModel(embedding, StatisticsBank(rows, SCALE_BITS, config.shrinkage))
    return run, _finish(run, model, dataset, seconds, console)


def add_to(
    path: Path, config: TrainConfig, model_name: str | None, settings: Settings, console: Console
) -> tuple[Run, dict[str, Any]]:
    """Insert the classes or sources of a data set into a finished run of guarantee `exact`, as a new run.

    Classes are told by their names; one that is new to the run gets the next class id.

    Args:
        path: the run.
        config: what is added; guarantee, backbone and embedding are the run's.
        model_name: where the backbone is now; None is where it was in training.
        settings: where the new run goes.
        console: where progress is shown.

    Raises:
        PfedgeError: the run is of another guarantee or backbone, or has one of the rows already.
    """
    old = Run.open(path)
    if old.config["train"]["guarantee"] != "exact":
        message = f"{path} is of guarantee {old.config['train']['guarantee']}: rows can be added to exact runs only"
        raise RunError(message)
    model = old.load_model(model_name)
    if not isinstance(model, ExactModel):
        message = f"{path} holds no statistics"
        raise RunError(message)
    model.embedding.to(choose_device(settings.device, settings.gpu_id))
    dataset = open_dataset(replace(config, model_name=old.config["train"]["model_name"]), settings, model.backbone)
    classes = [*old.config["classes"], *(name for name in dataset.classes if name not in old.config["classes"])]
    own = np.array([classes.index(name) for name in dataset.classes])
    train, val, test = (_renamed(split, own) for split in (dataset.train, dataset.val, dataset.test))
    dataset = replace(dataset, classes=tuple(classes), train=train, val=val, test=test)
    _announce(console, dataset, dataset.present(), model.embedding)
    bank = model.bank()
    bank.insert(
        dict.fromkeys(sorted(set(_keys(dataset.train))), next(iter(bank.rows.values())))
    )  # taken rows, told early
    described = {**old.config, "classes": classes, "made_by": old.config["made_by"]}
    run = Run.create(settings.out, described, resume=False, overwrite=settings.overwrite)
    with StopRequest(lambda: console.print("stopping; nothing is kept of rows that are added")) as stop:
        rows, seconds = _sum(run, model.embedding, dataset, {}, 0, config, console, stop)
    rows = _calibrate(model.embedding, dataset.val.only(dataset.present()), rows, console)
    grown = ExactModel(model.embedding, bank.insert(rows))
    run = replace(run, config={**described, "class_ids": list(grown.class_ids)})
    return run, _finish(run, grown, dataset, seconds, console)


def _sum(
    run: Run,
    embedding: Embedding,
    dataset: Dataset,
    rows: Rows,
    start: int,
    config: TrainConfig,
    console: Console,
    stop: StopRequest,
) -> tuple[Rows, float]:
    """Stream over the training split once; save the sums every five minutes and when asked to stop."""
    split, keys = dataset.train, _keys(dataset.train)
    sums, begun, saved = Accumulator(rows), time.perf_counter(), time.monotonic()
    with bars(console) as progress:
        bar = progress.add_task("summing", total=len(split), completed=start)
        for first, embedded in embed_split(embedding, split, start=start):
            end = first + len(embedded)
            sums.add(keys[first:end], embedded)
            progress.update(bar, completed=end)
            if stop.requested or time.monotonic() - saved > SAVE_SECONDS:
                run.save_rows(StatisticsBank(sums.finish(), SCALE_BITS, config.shrinkage), end)
                saved = time.monotonic()
            if stop.requested:
                raise TrainingInterruptedError(run.folder)
    return sums.finish(), time.perf_counter() - begun


def _calibrate(embedding: Embedding, val: Split, rows: Rows, console: Console) -> Rows:
    """Set each row's threshold to the score that 95 % of its own validation inputs reach."""
    keys, chunks = _keys(val), []
    with bars(console) as progress:
        bar = progress.add_task("calibrating", total=len(val))
        for first, embedded in embed_split(embedding, val):
            chunks.append(embedded)
            progress.update(bar, completed=first + len(embedded))
    whole = np.concatenate(chunks) if chunks else np.zeros((0, embedding.spec.dim), dtype=np.float32)
    return {
        key: row.with_threshold(
            own_threshold(row, whole[[own == key for own in keys]], SCALE_BITS, acceptance=ACCEPTANCE)
        )
        for key, row in rows.items()
    }


def _finish(run: Run, model: ExactModel, dataset: Dataset, seconds: float, console: Console) -> dict[str, Any]:
    """Measure on the test split, and write the model and what was measured."""
    test, head = dataset.test.only(model.class_ids), model.bank().head()
    matrix = np.zeros((len(dataset.classes), len(dataset.classes)), dtype=np.int64)
    with bars(console) as progress:
        bar = progress.add_task("testing", total=len(test))
        for first, embedded in embed_split(model.embedding, test):
            predicted = np.array(head.class_ids)[(embedded @ head.weight.T + head.bias).argmax(1)]
            np.add.at(matrix, (test.labels[first : first + len(embedded)], predicted), 1)
            progress.update(bar, completed=first + len(embedded))
    data = model.bank().to_bytes()
    metrics = {
        "history": [],
        "test_accuracy": float(np.trace(matrix) / max(1, matrix.sum())),
        "confusion": matrix.tolist(),
        "train_seconds": round(seconds, 3),
        "trained_parameters": model.trained_parameters(),
        "bytes_per_row": len(data) // len(model.bank().rows),
        "bank": model.bank().digest(),
    }
    run.finish_rows(model.bank(), metrics)
    plots.confusion(run.folder / "confusion.png", matrix, dataset.classes)
    return metrics


def _keys(split: Split) -> list[RowKey]:
    """Return the key of the row that each input belongs to."""
    sources = split.sources if split.sources is not None else np.full(len(split), "")
    return [RowKey(int(label), str(source)) for label, source in zip(split.labels, sources, strict=True)]


def _renamed(split: Split, own: NDArray[np.int64]) -> Split:
    return replace(split, labels=own[split.labels])


def _announce(console: Console, dataset: Dataset, class_ids: tuple[int, ...], embedding: Embedding) -> None:
    if not class_ids:
        message = f"no class is left to train on in {dataset.name}"
        raise DataError(message)
    say: Callable[[str], None] = lambda text: console.print(text, highlight=False, soft_wrap=True)  # noqa: E731 -- one use
    spec = embedding.spec
    say(
        f"{dataset.name}: {len(dataset.train)} training inputs, {len(class_ids)} classes, backbone "
        f"{embedding.backbone.name}, embedding {spec.dim} wide after blocks {', '.join(map(str, spec.blocks))}"
    )
    for class_id, name in enumerate(dataset.classes):
        if class_id not in class_ids:
            say(f"class {class_id} ({name}) has nothing to train on here: it gets no row")
