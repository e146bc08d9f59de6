"""Compare the guarantees, and simple baselines, on one data set; write docs/guarantees.md.

    python benchmarks/studies/guarantees.py runs/shared runs/isolated runs/exact runs/shared-without-3

Runs of several data sets give a table each; $PFEDGE_DATA_ROOT says where MedMNIST files lie. A run with
`--exclude-class` is full retraining, and is compared with forgetting that class in the run of the same data set and
guarantee. Nothing is trained here but the baselines: a linear probe (logistic regression) and nearest class mean, both
on the embedding of the `exact` run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from pfedge.data import Dataset
from pfedge.exporting import ExportSettings, export_run
from pfedge.guarantees import load_model
from pfedge.guarantees.exact import ExactModel, embed_split
from pfedge.guarantees.isolated import IsolatedModel, isolated_logits
from pfedge.guarantees.shared import full_bank_logits
from pfedge.runs import Run
from pfedge_runtime.bank import decide
from pfedge_runtime.bundle import Bundle
from pfedge_runtime.device import DeviceState, FileFloor
from pfedge_runtime.forgetting import adopt, forget

FORGETS = 9
DATA_ROOT = Path(os.environ["PFEDGE_DATA_ROOT"]) if "PFEDGE_DATA_ROOT" in os.environ else None


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

    def __init__(self, run: Run, dataset: Dataset, *, forget_each: bool = True) -> None:
        """Run the model over the test split as often as its guarantee needs."""
        model = load_model(run)
        forgotten = model.class_ids if forget_each else ()
        self.class_ids, self.labels = model.class_ids, dataset.test.labels
        bank, test = model.bank(), dataset.test
        self.full, self.without, self.margin = np.zeros((0, 0)), {}, {}
        if isinstance(model, ExactModel):
            embedding = np.concatenate([part for _, part in embed_split(model.embedding, test)])
            self.full = self._solved(bank, embedding)
            self.accepting = decide(bank, self.full, embedding).score
            for class_id in forgotten:
                smaller = bank.drop({class_id})
                logits = self._solved(smaller, embedding)
                self._keep(class_id, smaller, logits, embedding)
            return
        for class_id in (None, *forgotten):
            keep = [p for p, c in enumerate(self.class_ids) if c != class_id]
            if isinstance(model, IsolatedModel):
                logits = isolated_logits(model, test, Console(quiet=True), keep)
            else:
                logits = full_bank_logits(model, test, autocast=contextlib.nullcontext(), keep=keep)[:, keep]
            if class_id is None:
                self.full, self.accepting = logits, decide(bank, logits, None).score
            else:
                self._keep(class_id, bank.drop({class_id}), logits, None)

    def _keep(self, class_id: int, bank: object, logits: NDArray[np.float32], embedding: object) -> None:
        self.without[class_id] = logits
        self.margin[class_id] = decide(bank, logits, embedding).score

    def _solved(self, bank: object, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        head = bank.head()
        return embedding @ head.weight.T + head.bias


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
        bundle, _ = export_run(run, ExportSettings(out=Path(folder) / "bundle", parity_inputs=8, data_root=DATA_ROOT))
        kept, times = bundle.bank_path.read_bytes(), []
        for number in range(FORGETS):  # each on a device that has not forgotten it yet
            state = DeviceState(Path(folder) / f"state-{number}", FileFloor(Path(folder) / f"floor-{number}"))
            bundle.bank_path.unlink()
            bundle.bank_path.write_bytes(kept)
            adopt(Bundle.open(bundle.path, state=state))
            times.append(forget(bundle.path, ["0"], state=state).milliseconds)
        return statistics.median(times), len(kept) // len(run.config.class_ids)


def measure_run(run: Run, measured: Measured) -> Outcome:
    """Put together what a run reached."""
    parameters = load_model(run).trained_parameters()
    milliseconds, row_bytes = forgetting_milliseconds(run)
    return Outcome(
        name=f"`{guarantee(run)}`",
        **summarise(measured.full, measured.without, measured.margin, measured.class_ids, measured.labels),
        seconds=train_seconds(run),
        forgetting=f"{milliseconds:.1f} ms",
        row_bytes=row_bytes,
        unreachable=parameters["shared"] / sum(parameters.values()),
    )


def retraining_lines(retrained: Run, whole: Run, measured: Measured) -> list[str]:
    """Return two lines: a class forgotten, and trained again without it; measured on the test split alike."""
    config = retrained.config
    (class_id,) = set(whole.config.class_ids) - set(config.class_ids)
    again = Measured(retrained, open_test(retrained), forget_each=False)
    kept = tuple(c for c in measured.class_ids if c != class_id)
    lines = []
    for name, logits, margin, cost in (
        ("forgotten", measured.without[class_id], measured.margin[class_id], "milliseconds, see above"),
        ("trained without it", again.full, again.accepting, f"{train_seconds(retrained):.0f} s, with the data"),
    ):
        numbers = summarise(logits, {class_id: logits}, {class_id: margin}, kept, measured.labels)
        lines.append(
            f"| `{guarantee(retrained)}`, {config.classes[class_id]} {name} | {numbers['retained']:.3f} | "
            f"{numbers['auroc']:.3f} | {numbers['abstained_at_95']:.3f} | {cost} |"
        )
    return lines


def guarantee(run: Run) -> str:
    """Return the guarantee of a run."""
    return run.config.train.guarantee


def train_seconds(run: Run) -> float:
    """Return how long a run trained."""
    return run.metrics.train_seconds or 0.0


def open_test(run: Run) -> Dataset:
    """Load the data set of a run."""
    return run.load_dataset(load_model(run).backbone.image_size, data_root=DATA_ROOT)


def measure_baselines(run: Run) -> list[Outcome]:
    """Measure a linear probe and nearest class mean on the embedding of an `exact` run."""
    model, dataset = load_model(run), open_test(run)
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
    runs = [Run.open(path) for path in options.runs]
    tables = [compare([run for run in runs if run.config.dataset_name == name]) for name in names(runs)]
    page = options.out.read_text() if options.out.exists() else "<!-- figures -->\n<!-- end -->\n"
    head, _, rest = page.partition("<!-- figures -->")
    tail = rest.partition("<!-- end -->")[2]
    text = "\n\n".join(tables)
    options.out.write_text(f"{head}<!-- figures -->\n{text}\n<!-- end -->{tail}")
    print(text)


def names(runs: list[Run]) -> list[str]:
    """Return the names of the runs' data sets, in order."""
    return list(dict.fromkeys(run.config.dataset_name for run in runs))


def compare(runs: list[Run]) -> str:
    """Return the tables of one data set."""
    whole = {guarantee(run): run for run in runs if not run.config.train.exclude}
    measured = {name: Measured(run, open_test(run)) for name, run in whole.items()}
    outcomes = [measure_run(run, measured[name]) for name, run in whole.items()]
    outcomes += measure_baselines(whole["exact"]) if "exact" in whole else []
    config = runs[0].config
    backbone = Path(config.train.model_name).name
    lines = [
        f"{config.dataset_name}, {len(config.class_ids)} classes, backbone {backbone}:",
        "",
        "| | accuracy | retained | moved | AUROC | abstained | training | forgetting | bytes a row | out of reach |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_line(one) for one in outcomes),
    ]
    again = [run for run in runs if run.config.train.exclude and guarantee(run) in whole]
    if again:
        lines += ["", "| one class | retained | AUROC | abstained | cost |", "|---|---|---|---|---|"]
        for run in again:
            lines += retraining_lines(run, whole[guarantee(run)], measured[guarantee(run)])
    return "\n".join(lines)


if __name__ == "__main__":
    main()
