"""Training under guarantee `exact`: one pass over the data, and sums.

    run, metrics = train_exact(ExactConfig(dataset="bloodmnist"), settings, console)

The rows do not depend on the order of the data, on `--batch-size` or on which other classes there were.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from pfedge.backbone import DEFAULT_DIM, Embedding, EmbeddingSpec
from pfedge.compute import choose_autocast, choose_device
from pfedge.data import Dataset, Split
from pfedge.guarantees.exact.model import SCALE_BITS, ExactModel, bank_state, embed_split, load_exact, read_bank
from pfedge.guarantees.loading import backbone_of
from pfedge.interrupt import StopRequest, TrainingInterruptedError
from pfedge.runs import Metrics, Run, TrainConfig
from pfedge.training import (
    ACCEPTANCE,
    SAVE_SECONDS,
    TrainingSession,
    TrainSettings,
    open_dataset,
    require_classes,
)
from pfedge_runtime.bank import RowKey, RowStatistics, StatisticsBank, decide, own_threshold, quantise, summarise

FLUSH = 512
Rows = dict[RowKey, RowStatistics]


def train_exact(config: TrainConfig, settings: TrainSettings, console: Console) -> tuple[Run, Metrics]:
    """Sum a data set into rows and write a run folder; see `Guarantee.train`. What is saved is the sums so far."""
    session = TrainingSession.open(config, settings, console)
    dim = DEFAULT_DIM if config.embedding_dim is None else config.embedding_dim
    embedding = Embedding(session.backbone, EmbeddingSpec(config.embedding_blocks, dim)).eval().to(session.device)
    run = session.create_run(embedding)
    begun, start = _read_sums(run) if settings.resume else ({}, 0)
    with session.working("stopping after this batch ...") as (progress, stop):
        session.announce(_describe(session, embedding.spec))
        session.warn_of_few()
        rows, seconds = _sum(run, embedding, session.dataset.train, begun, start, progress, stop)
        rows = _calibrate(embedding, session.dataset.val.only(session.class_ids), rows, progress)
        model = ExactModel(embedding, StatisticsBank(rows, SCALE_BITS, config.shrinkage))
        return run, _finish(session, run, model, seconds, progress)


def add_rows(
    old: Run, config: TrainConfig, model_name: str | None, settings: TrainSettings, console: Console
) -> tuple[Run, Metrics]:
    """Insert the classes or sources of a data set into a finished run, as a new run.

    Classes are told by their names; one that is new to the run gets the next class id.

    Args:
        old: the run.
        config: what is added; backbone and embedding are the run's.
        model_name: where the backbone is now; None is where it was in training.
        settings: where the new run goes.
        console: where progress is shown.

    Raises:
        PfedgeError: the run is of another backbone, or has one of the rows already.
    """
    device = choose_device(settings.device, settings.gpu_id)
    model = load_exact(old, backbone_of(old, model_name)).to(device)
    dataset = _named_as_in(old, open_dataset(config, settings, model.backbone))
    session = TrainingSession(
        config=replace(config, exclude=()),  # they are gone, and their ids may be other classes' now
        settings=settings,
        console=console,
        device=device,
        autocast=choose_autocast(settings.precision, device),
        backbone=model.backbone,
        dataset=dataset,
        class_ids=require_classes(dataset),
    )
    bank = model.bank()
    # a row that is there already is refused before the long pass, not after it: any statistics do for the question
    bank.insert(dict.fromkeys(sorted(set(_keys(dataset.train))), next(iter(bank.rows.values()))))
    described = replace(old.config, classes=dataset.classes)
    run = Run.create(settings.out, described, resume=False, overwrite=settings.overwrite)
    with session.working("stopping; nothing is kept of rows that are added") as (progress, stop):
        session.announce(_describe(session, model.embedding.spec))
        session.warn_of_few()
        rows, seconds = _sum(run, model.embedding, dataset.train, {}, 0, progress, stop)
        rows = _calibrate(model.embedding, dataset.val.only(session.class_ids), rows, progress)
        grown = ExactModel(model.embedding, bank.insert(rows))
        run = replace(run, config=replace(described, class_ids=grown.class_ids))
        return run, _finish(session, run, grown, seconds, progress)


def _sum(
    run: Run, embedding: Embedding, split: Split, rows: Rows, start: int, progress: Progress, stop: StopRequest
) -> tuple[Rows, float]:
    """Stream over the training split once; save the sums every five minutes and when asked to stop."""
    keys, shrinkage = _keys(split), run.config.train.shrinkage
    sums, begun, saved = Accumulator(rows), time.perf_counter(), time.monotonic()
    bar = progress.add_task("summing", total=len(split), completed=start)
    for first, embedded in embed_split(embedding, split, start=start):
        end = first + len(embedded)
        sums.add(keys[first:end], embedded)
        progress.update(bar, completed=end)
        if stop.requested or time.monotonic() - saved > SAVE_SECONDS:
            bank = StatisticsBank(sums.finish(), SCALE_BITS, shrinkage)
            run.save_progress(bank_state(bank), bank=bank.about(), next=end)
            saved = time.monotonic()
        if stop.requested:
            raise TrainingInterruptedError(run.folder)
    progress.remove_task(bar)
    return sums.finish(), time.perf_counter() - begun


class Accumulator:
    """Sums embeddings into rows, going on from those given: a few hundred at a time in one matrix product."""

    def __init__(self, rows: Rows, scale_bits: int = SCALE_BITS) -> None:
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


def _read_sums(run: Run) -> tuple[Rows, int]:
    """Return the sums of an interrupted pass, and the index of the input to go on with."""
    file = run.read_progress()
    return read_bank(file).rows, int(file.about["next"])


def _calibrate(embedding: Embedding, val: Split, rows: Rows, progress: Progress) -> Rows:
    """Set each row's threshold to the score that 95 % of its own validation inputs reach."""
    keys, embedded = _keys(val), _embedded(embedding, val, "calibrating", progress)
    thresholds = {
        key: own_threshold(row, embedded[[own == key for own in keys]], SCALE_BITS, acceptance=ACCEPTANCE)
        for key, row in rows.items()
    }
    return {key: row.with_threshold(thresholds[key]) for key, row in rows.items()}


def _finish(session: TrainingSession, run: Run, model: ExactModel, seconds: float, progress: Progress) -> Metrics:
    """Measure on the test split, and write the model and what was measured."""
    bank = model.bank()
    test, head = session.dataset.test.only(model.class_ids), bank.head()
    embedded = _embedded(model.embedding, test, "testing", progress)
    decisions = decide(bank, embedded @ head.weight.T + head.bias, embedded)
    predicted, accepted = np.array(head.class_ids)[decisions.winner], decisions.accepted
    right = predicted == test.labels
    metrics = session.measure(
        test.labels,
        predicted,
        model.trained_parameters(),
        seconds,
        bytes_per_row=len(bank.to_bytes()) // len(bank.rows),
        bank=bank.digest(),
        accepted=float(accepted.mean()) if len(accepted) else None,
        accepted_accuracy=float(right[accepted].mean()) if accepted.any() else None,
    )
    run.finish(bank_state(bank), metrics, bank=bank.about())
    session.plot(run, metrics)
    return metrics


def _embedded(embedding: Embedding, split: Split, what: str, progress: Progress) -> NDArray[np.float32]:
    """Return the embeddings float32 `[N, E]` of a whole split."""
    bar, parts = progress.add_task(what, total=len(split)), [np.zeros((0, embedding.spec.dim), dtype=np.float32)]
    for first, embedded in embed_split(embedding, split):
        parts.append(embedded)
        progress.update(bar, completed=first + len(embedded))
    progress.remove_task(bar)
    return np.concatenate(parts)


def _keys(split: Split) -> list[RowKey]:
    """Return the key of the row that each input belongs to."""
    sources = split.sources if split.sources is not None else np.full(len(split), "")
    return [RowKey(int(label), str(source)) for label, source in zip(split.labels, sources, strict=True)]


def _named_as_in(old: Run, dataset: Dataset) -> Dataset:
    """Return a data set with the class ids of a run; a class whose name is new to it gets the next id."""
    known = old.config.classes
    classes = (*known, *(name for name in dataset.classes if name not in known))
    own = np.array([classes.index(name) for name in dataset.classes])
    train, val, test = (
        replace(split, labels=own[split.labels]) for split in (dataset.train, dataset.val, dataset.test)
    )
    return replace(dataset, classes=classes, train=train, val=val, test=test)


def _describe(session: TrainingSession, spec: EmbeddingSpec) -> str:
    """Return what is about to be summed."""
    return (
        f"{len(session.dataset.train)} training inputs, {len(session.class_ids)} classes, backbone "
        f"{session.backbone.name}, embedding {spec.dim} wide after blocks {', '.join(map(str, spec.blocks))}"
    )
