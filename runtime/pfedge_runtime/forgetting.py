"""Forgetting: drop rows from a bundle's bank, durably.

    plan = plan_forget(Bundle.open("bundle"), ["3"])
    forget("bundle", ["3"]).milliseconds

The bank file is replaced atomically, under a lock between processes. Graph, engines and manifest stay as
they are: what the bundle can still recognise follows from its bank.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pfedge_runtime.bundle import Bundle
from pfedge_runtime.decision import Bank
from pfedge_runtime.errors import AlreadyForgottenError, LastRowError, UnknownClassError, UsageError
from pfedge_runtime.manifest import ClassEntry
from pfedge_runtime.statistics_bank import StatisticsBank
from pfedge_runtime.storage import exclusive, remove_leftovers, require_sole_copy, write_atomic


@dataclass(frozen=True)
class Forgetting:
    """What a forget changes, or changed.

    Attributes:
        model_id: the bundle's model.
        guarantee: what the bundle's guarantee is called.
        classes: the classes named, whose rows go.
        sources: the sources named, whose rows go.
        coverage: the class ids that stay.
        bank_before: digest of the bank before.
        bank_after: digest of the bank after.
        milliseconds: what replacing the bank took, from taking the lock to the last fsync; 0 for a plan.
    """

    model_id: str
    guarantee: str
    classes: tuple[ClassEntry, ...]
    sources: tuple[str, ...]
    coverage: tuple[int, ...]
    bank_before: str
    bank_after: str
    milliseconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "model_id": self.model_id,
            "guarantee": self.guarantee,
            "forgotten": [{"id": entry.id, "name": entry.name, "row": entry.row} for entry in self.classes],
            "sources": list(self.sources),
            "coverage": list(self.coverage),
            "bank_before": self.bank_before,
            "bank_after": self.bank_after,
            "milliseconds": round(self.milliseconds, 3),
        }


def plan_forget(bundle: Bundle, classes: Sequence[str], *, sources: Sequence[str] = ()) -> Forgetting:
    """Say what forgetting these classes (ids or names) and sources would do, and change nothing.

    Raises:
        UsageError: neither a class nor a source is given, or the model keeps no rows by source.
        UnknownClassError: the model never had one of them.
        AlreadyForgottenError: one of them has no row any more, or never had one.
        LastRowError: no row would be left.
    """
    return _plan(bundle, classes, sources)[0]


def forget(path: str | os.PathLike[str], classes: Sequence[str], *, sources: Sequence[str] = ()) -> Forgetting:
    """Drop the rows of these classes (ids or names) and sources from the bundle at `path`.

    When it returns, the bank on disk no longer has them. If it raises, the bank is as it was, unless the
    message says that it was replaced.

    Raises:
        PfedgeError: as `Bundle.open` and `plan_forget`; StorageError when the bank cannot be written.
    """
    bundle = Bundle.open(path, read_bank=False)  # it is read once nobody else can change it
    started = time.perf_counter()
    with exclusive(bundle.path):
        plan, smaller = _plan(bundle, classes, sources)
        require_sole_copy(bundle.bank_path)
        remove_leftovers(bundle.bank_path)
        write_atomic(bundle.bank_path, smaller.to_bytes())
    elapsed = (time.perf_counter() - started) * 1000
    return Forgetting(**{**vars(plan), "milliseconds": elapsed})


def _plan(bundle: Bundle, classes: Sequence[str], sources: Sequence[str]) -> tuple[Forgetting, Bank]:
    if not classes and not sources:
        message = "name at least one class to forget: --class ID or --class NAME"
        raise UsageError(message)
    entries = tuple(sorted({bundle.manifest.find_class(text) for text in classes}, key=lambda entry: entry.id))
    bank = bundle.bank()
    for entry in entries:
        if not entry.rows:
            message = f"class {entry.id} ({entry.name}) never had a row in this model: there is nothing to forget"
            raise AlreadyForgottenError(message)
        if entry.id not in bank.class_ids:
            message = f"class {entry.id} ({entry.name}) is already forgotten; nothing was done"
            raise AlreadyForgottenError(message)
    _require_sources(bundle, bank, sources)
    if len(entries) == len(bank):
        message = "a bank must keep at least one row; to forget everything, remove the bundle"
        raise LastRowError(message)
    smaller = bank.drop(entry.id for entry in entries) if entries else bank
    if isinstance(smaller, StatisticsBank) and sources:
        smaller = smaller.keep(key for key in smaller.rows if key.source not in sources)
    plan = Forgetting(
        model_id=bundle.manifest.model_id,
        guarantee=bundle.manifest.guarantee,
        classes=entries,
        sources=tuple(sorted(set(sources))),
        coverage=smaller.class_ids,
        bank_before=bank.digest(),
        bank_after=smaller.digest(),
    )
    return plan, smaller


def _require_sources(bundle: Bundle, bank: Bank, sources: Sequence[str]) -> None:
    """Check that there are rows of each source."""
    exported = {source for entry in bundle.manifest.classes for source in entry.rows if source}
    for source in sources:
        if not exported:
            message = f"this model keeps no rows by source: there is no source {source!r} to forget"
            raise UsageError(message)
        if source not in exported:
            message = f"unknown source {source!r}; known are: {', '.join(sorted(exported))}"
            raise UnknownClassError(message)
        if not isinstance(bank, StatisticsBank) or source not in bank.sources:
            message = f"source {source!r} is already forgotten; nothing was done"
            raise AlreadyForgottenError(message)
