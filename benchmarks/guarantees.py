"""Compare the guarantees, and simple baselines, on one data set; write docs/guarantees.md.

    python benchmarks/guarantees.py runs/shared runs/isolated runs/exact --out docs/guarantees.md

The runs must be of one data set and backbone. Nothing is trained here but the baselines: a linear probe (logistic
regression) and nearest class mean, both on the embedding of the `exact` run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from pfedge.data import Dataset, load_dataset
from pfedge.evaluate import full_bank_logits
from pfedge.exact import ExactModel, embed_split
from pfedge.export import ExportSettings, export_run
from pfedge.isolated import IsolatedModel
from pfedge.run import Run
from pfedge_runtime.decision import decide
from pfedge_runtime.forgetting import forget

FORGETS = 9


@dataclass(frozen=True)
class Outcome:
    """One line of the table."""

    name: str
    accuracy: float
    retained: float
    moved: float
    auroc: float
    abstained_at_95: float
    seconds: float
    forgetting: str
    row_bytes: int
    unreachable: float


class Measured:
    """Logits `[N, R]`, acceptance `[N]` and rows of a model, under its full bank and with each class forgotten."""

    def __init__(self, run: Run, dataset: Dataset) -> None:
        """Run the model over the test split as often as its guarantee needs."""
        model = run.load_model()
        self.class_ids, self.labels = model.class_ids, dataset.test.labels
        bank, test = model.bank(), dataset.test
        self.full, self.without, self.margin = np.zeros((0, 0)), {}, {}
        if isinstance(model, ExactModel):
            embedding = np.concatenate([part for _, part in embed_split(model.embedding, test)])
            self.full = self._solved(bank, embedding)
            for class_id in self.class_ids:
                smaller = bank.drop({class_id})
                logits = self._solved(smaller, embedding)
                self._keep(class_id, smaller, logits, embedding)
            return
        for class_id in (None, *self.class_ids):
            keep = [p for p, c in enumerate(self.class_ids) if c != class_id]
            if isinstance(model, IsolatedModel):
                logits = self._one_pass(model, bank.select(self.class_ids[p] for p in keep), dataset)
            else:
                logits = full_bank_logits(model, test, autocast=contextlib.nullcontext(), keep=keep)[:, keep]
            if class_id is None:
                self.full = logits
            else:
                self._keep(class_id, bank.drop({class_id}), logits, None)

    def _keep(self, class_id: int, bank: object, logits: NDArray[np.float32], embedding: object) -> None:
        self.without[class_id] = logits
        self.margin[class_id] = decide(bank, logits, embedding).score

    def _solved(self, bank: object, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        head = bank.head()
        return embedding @ head.weight.T + head.bias

    @torch.no_grad()
    def _one_pass(self, model: IsolatedModel, bank: object, dataset: Dataset) -> NDArray[np.float32]:
        graph = model.deployable()
        parts = [torch.from_numpy(np.array(part)) for part in bank.graph_inputs().values()]
        chunks = []
        for start in range(0, len(dataset.test), 32):
            index = np.arange(start, min(start + 32, len(dataset.test)))
            inputs = torch.from_numpy(dataset.test.batch(index, model.backbone.preprocess))
            chunks.append(graph(inputs, *parts)[0].numpy())
        return np.concatenate(chunks)


def summarise(
    full: NDArray[np.float32],
    without: dict[int, NDArray[np.float32]],
    margin: dict[int, NDArray[np.float64]],
    class_ids: tuple[int, ...],
    labels: NDArray[np.int64],
) -> dict[str, float]:
    """Return accuracy, retained accuracy, movement and abstention, means over the class forgotten."""
    ids = np.array(class_ids)
    retained, moved, auroc, at_95 = [], [], [], []
    for class_id, logits in without.items():
        kept, others = ids != class_id, labels != class_id
        retained.append((ids[kept][logits.argmax(1)] == labels)[others].mean())
        moved.append(np.abs(full[:, kept] - logits)[others].max())
        auroc.append(roc_auc_score(others, margin[class_id]))
        cut = np.quantile(margin[class_id][others], 0.05, method="lower")
        at_95.append((margin[class_id][~others] < cut).mean())
    return {
        "accuracy": float((ids[full.argmax(1)] == labels).mean()),
        "retained": float(np.mean(retained)),
        "moved": float(np.max(moved)),
        "auroc": float(np.mean(auroc)),
        "abstained_at_95": float(np.mean(at_95)),
    }


def forgetting_milliseconds(run: Run) -> tuple[float, int]:
    """Return the median time of a durable forget of one class, and the bytes of a row."""
    with tempfile.TemporaryDirectory() as folder:
        bundle, _ = export_run(run, ExportSettings(out=Path(folder) / "bundle", parity_inputs=8))
        kept, times = bundle.bank_path.read_bytes(), []
        for _ in range(FORGETS):
            bundle.bank_path.unlink()
            bundle.bank_path.write_bytes(kept)
            times.append(forget(bundle.path, ["0"]).milliseconds)
        return statistics.median(times), len(kept) // len(run.config["class_ids"])


def measure_run(path: Path) -> Outcome:
    """Measure a run."""
    run = Run.open(path)
    train = run.config["train"]
    model = run.load_model()
    dataset = load_dataset(train["dataset"], image_size=model.backbone.image_size)
    measured = Measured(run, dataset)
    parameters = model.trained_parameters()
    milliseconds, row_bytes = forgetting_milliseconds(run)
    metrics = json.loads((run.folder / "metrics.json").read_text())
    return Outcome(
        name=f"`{train['guarantee']}`",
        **summarise(measured.full, measured.without, measured.margin, measured.class_ids, measured.labels),
        seconds=metrics["train_seconds"],
        forgetting=f"{milliseconds:.1f} ms",
        row_bytes=row_bytes,
        unreachable=parameters["shared"] / sum(parameters.values()),
    )


def measure_baselines(path: Path) -> list[Outcome]:
    """Measure a linear probe and nearest class mean on the embedding of an `exact` run."""
    run = Run.open(path)
    model = run.load_model()
    dataset = load_dataset(run.config["train"]["dataset"], image_size=model.backbone.image_size)
    started = time.perf_counter()
    train = np.concatenate([part for _, part in embed_split(model.embedding, dataset.train)])
    embedding_seconds = time.perf_counter() - started
    test = np.concatenate([part for _, part in embed_split(model.embedding, dataset.test)])
    labels, ids = dataset.train.labels, model.class_ids
    scale = StandardScaler().fit(train)

    def probe(classes: list[int]) -> NDArray[np.float32]:
        chosen = np.isin(labels, classes)
        fitted = LogisticRegression(C=0.1, max_iter=2000).fit(scale.transform(train[chosen]), labels[chosen])
        return fitted.decision_function(scale.transform(test))

    def nearest(classes: list[int]) -> NDArray[np.float32]:
        means = np.stack([train[labels == c].mean(axis=0) for c in classes])
        return -((test[:, None] - means) ** 2).sum(axis=2)

    outcomes = []
    for name, score, drop in (("linear probe", probe, "retrained"), ("nearest class mean", nearest, "a mean dropped")):
        started = time.perf_counter()
        full = score(list(ids))
        seconds = time.perf_counter() - started
        without = {c: score([other for other in ids if other != c]) for c in ids}
        if name == "linear probe":
            chances = {c: _softmax_max(logits) for c, logits in without.items()}
        else:
            chances = {c: logits.max(1) for c, logits in without.items()}
        cost = f"{seconds:.1f} s, with the data" if drop == "retrained" else "a mean dropped"
        unreachable = 1.0 if drop == "retrained" else 0.0
        numbers = summarise(full, without, chances, ids, dataset.test.labels)
        outcomes.append(
            Outcome(
                name,
                **numbers,
                seconds=embedding_seconds + seconds,
                forgetting=cost,
                row_bytes=4 * (test.shape[1] + 1),
                unreachable=unreachable,
            )
        )
    return outcomes


def _softmax_max(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted.max(1) / shifted.sum(1)


def _line(one: Outcome) -> str:
    return (
        f"| {one.name} | {one.accuracy:.3f} | {one.retained:.3f} | {one.moved:.1e} | {one.auroc:.3f} | "
        f"{one.abstained_at_95:.3f} | {one.seconds:.0f} s | {one.forgetting} | {one.row_bytes:,} | "
        f"{one.unreachable:.1%} |"
    )


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("docs/guarantees.md"))
    options = parser.parse_args()
    outcomes = [measure_run(path) for path in options.runs]
    exact = [path for path in options.runs if Run.open(path).config["train"]["guarantee"] == "exact"]
    outcomes += measure_baselines(exact[0]) if exact else []
    config = Run.open(options.runs[0]).config
    lines = [
        "| | accuracy | retained | moved | AUROC | abstained | training | forgetting | bytes a row | out of reach |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(one) for one in outcomes]
    page = options.out.read_text() if options.out.exists() else "<!-- figures -->\n<!-- end -->\n"
    head, _, rest = page.partition("<!-- figures -->")
    tail = rest.partition("<!-- end -->")[2]
    table = f"\n{config['dataset_name']}, {len(config['class_ids'])} classes:\n\n" + "\n".join(lines) + "\n"
    options.out.write_text(f"{head}<!-- figures -->{table}<!-- end -->{tail}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
