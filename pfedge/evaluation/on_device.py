"""Measuring a bundle as it is deployed: its graph, on ONNX Runtime, with the rows that its bank still has.

evaluate_bundle(Path("bundle"), dataset, console)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pfedge.data import Dataset
from pfedge.errors import DataError
from pfedge.progress import bars
from pfedge_runtime.classifier import Classifier, Prediction

CHUNK = 32
NAMED = 3


@dataclass(frozen=True)
class ClassOutcome:
    """What a bundle says of the inputs of one class.

    Attributes:
        class_id: the class.
        name: its name.
        covered: whether it still has a row.
        inputs: how many there are.
        correct: how many are given its name, abstained on or not.
        abstained: how many are abstained on.
        answers: for the others, class name -> how many are called that.
    """

    class_id: int
    name: str
    covered: bool
    inputs: int
    correct: int
    abstained: int
    answers: dict[str, int]


@dataclass(frozen=True)
class BundleEvaluation:
    """The outcome, by class; `accuracy` is over the classes that still have a row."""

    bundle: Path
    outcomes: tuple[ClassOutcome, ...]

    @property
    def accuracy(self) -> float:
        """Share of inputs of covered classes whose best row is their own."""
        covered = [outcome for outcome in self.outcomes if outcome.covered]
        return sum(outcome.correct for outcome in covered) / max(1, sum(outcome.inputs for outcome in covered))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        classes = [vars(outcome) for outcome in self.outcomes]
        return {"bundle": str(self.bundle), "accuracy": self.accuracy, "classes": classes}

    def show(self, console: Console) -> None:
        """Print a table."""
        table = Table(title=f"{self.bundle}: accuracy {self.accuracy:.3f} on the classes that have a row")
        for heading in ("class", "row", "inputs", "accuracy", "abstained", "called"):
            table.add_column(heading, justify="left" if heading in {"class", "row", "called"} else "right")
        for outcome in self.outcomes:
            count = max(1, outcome.inputs)
            table.add_row(
                f"{outcome.class_id} {outcome.name}",
                "yes" if outcome.covered else "no",
                str(outcome.inputs),
                f"{outcome.correct / count:.3f}" if outcome.covered else "no output",
                f"{outcome.abstained / count:.3f}",
                ", ".join(f"{name} {number}" for name, number in list(outcome.answers.items())[:NAMED]),
            )
        console.print(table)


def evaluate_bundle(classifier: Classifier, dataset: Dataset, console: Console, *, limit: int = 0) -> BundleEvaluation:
    """Predict a data set's test split, at most `limit` inputs of it (0: all), and count by class.

    Raises:
        DataError: the data set is of other classes, or of another kind.
    """
    manifest = classifier.bundle.manifest
    dataset.require_kind(manifest.preprocess, backbone="of the bundle")
    if dataset.classes != tuple(entry.name for entry in manifest.classes):
        message = f"{dataset.name} has classes {list(dataset.classes)}, the bundle has others"
        raise DataError(message)
    test = dataset.test.sample(limit)
    predictions: list[Prediction] = []
    with bars(console) as progress:
        bar = progress.add_task("predicting", total=len(test))
        for start in range(0, len(test), CHUNK):
            index = np.arange(start, min(start + CHUNK, len(test)))
            predictions += classifier.predict(test.batch(index, manifest.preprocess))
            progress.advance(bar, len(index))
    covered = classifier.bank.class_ids
    outcomes = []
    for class_id, name in enumerate(dataset.classes):
        own = [p for p, label in zip(predictions, test.labels, strict=True) if label == class_id]
        answers = Counter(prediction.name for prediction in own if not prediction.abstained)
        outcomes.append(
            ClassOutcome(
                class_id=class_id,
                name=name,
                covered=class_id in covered,
                inputs=len(own),
                correct=sum(prediction.class_id == class_id for prediction in own),
                abstained=sum(prediction.abstained for prediction in own),
                answers=dict(answers.most_common()),
            )
        )
    return BundleEvaluation(classifier.bundle.path, tuple(outcomes))
