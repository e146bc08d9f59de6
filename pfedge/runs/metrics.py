"""How training went: `metrics.json`.

run.metrics.test_accuracy, run.metrics.history[-1].loss
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class EpochRecord:
    """How one epoch went.

    Attributes:
        epoch: from 1.
        loss: mean over its steps.
        seconds: what the steps took.
        accuracy: by prompt mode, or under `full_bank`; None where nothing was measured after it.
    """

    epoch: int
    loss: float = 0.0
    seconds: float = 0.0
    accuracy: dict[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return _without_none(asdict(self))


@dataclass(frozen=True)
class Metrics:
    """How a training went; what a guarantee does not measure is None.

    Attributes:
        history: one record an epoch.
        test_accuracy: on the test inputs of the classes that have a row, under the full bank.
        confusion: counts `[true, predicted]` over all classes.
        cache: `isolated`: where keys and values were kept.
        cache_seconds: `isolated`: what computing them took.
        train_seconds: what training took; None of a run that was imported.
        trained_parameters: how many trained numbers stand in `rows`, and how many are `shared`.
        bytes_per_row: `exact`: of the bank file.
        bank: `exact`: its digest.
        accepted: `exact`: share of those test inputs that are not abstained on.
        accepted_accuracy: `exact`: accuracy on the accepted ones; None where none is.
    """

    history: tuple[EpochRecord, ...]
    test_accuracy: float
    confusion: list[list[int]]
    trained_parameters: dict[str, int]
    train_seconds: float | None = None
    cache: str | None = None
    cache_seconds: float | None = None
    bytes_per_row: int | None = None
    bank: str | None = None
    accepted: float | None = None
    accepted_accuracy: float | None = None

    def describe(self) -> str:
        """Return the test accuracy in words and, where it was measured, what would be abstained on.

        >>> Metrics((), 0.9, [], {}, accepted=0.617, accepted_accuracy=0.98).describe()
        'test accuracy, full bank: 0.900; accepted 0.617, accuracy on those 0.980'
        """
        said = f"test accuracy, full bank: {self.test_accuracy:.3f}"
        if self.accepted is not None:
            said += f"; accepted {self.accepted:.3f}"
        if self.accepted_accuracy is not None:
            said += f", accuracy on those {self.accepted_accuracy:.3f}"
        return said

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, in the order in which `metrics.json` has them."""
        return _without_none(
            {
                "history": [record.to_json() for record in self.history],
                "test_accuracy": self.test_accuracy,
                "confusion": self.confusion,
                "cache": self.cache,
                "cache_seconds": self.cache_seconds,
                "train_seconds": self.train_seconds,
                "trained_parameters": self.trained_parameters,
                "bytes_per_row": self.bytes_per_row,
                "bank": self.bank,
                "accepted": self.accepted,
                "accepted_accuracy": self.accepted_accuracy,
            }
        )

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Metrics:
        """Return what `to_json` gave.

        Raises:
            TypeError: a field is missing.
        """
        known = {one.name: value[one.name] for one in fields(cls) if one.name in value}
        return cls(**{**known, "history": tuple(EpochRecord(**record) for record in known.get("history", ()))})


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
