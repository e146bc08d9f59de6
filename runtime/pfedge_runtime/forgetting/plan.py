"""Planning a forget: what was asked for, what it would do, and why it cannot be done.

plan = plan_forget(Bundle.open("bundle"), ["3"])      # nothing is changed
plan.coverage                                         # (0, 1, 2, 4, 5, 6, 7)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pfedge_runtime.arguments import Texts, as_texts
from pfedge_runtime.bank import RowKey, StoredBank
from pfedge_runtime.bundle import BankStamp, Bundle, ClassEntry
from pfedge_runtime.device import Ledger, RowId
from pfedge_runtime.errors import AlreadyForgottenError, LastRowError, UnknownClassError, UsageError

REQUEST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Forgetting:
    """What a forget changes, or changed.

    It begins as a plan, which `plan_forget` makes without changing anything: which rows go, and what stays. `forget`
    makes the same plan and carries it out under the locks of device and bundle. Its outcome is that plan with what
    only the deed has: the request that names it, how long it took, and where its receipt lies. It is not changed after
    that. The ledger and the receipt say the same for good; this says it to whoever called.

    Attributes:
        model_id: the bundle's model.
        guarantee: what the bundle's guarantee is called.
        classes: the classes named, whose rows go.
        sources: the sources named, whose rows go.
        coverage: the class ids that stay.
        bank_before: digest of the bank before.
        bank_after: digest of the bank after.
        milliseconds: what the forget took, from the plan to the receipt; 0 for a plan.
        request: names the forget in the ledger and its receipt; empty for a plan.
        receipt: where the receipt lies; empty for a plan.
        also: rows that go with them because this device forgot them before: the bundle is an old copy.
    """

    model_id: str
    guarantee: str
    classes: tuple[ClassEntry, ...]
    sources: tuple[str, ...]
    coverage: tuple[int, ...]
    bank_before: str
    bank_after: str
    milliseconds: float = 0.0
    request: str = ""
    receipt: str = ""
    also: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return `class 3 (monocyte), source clinic-7`: what was named."""
        classes = [f"class {entry.id} ({entry.name})" for entry in self.classes]
        return ", ".join([*classes, *(f"source {source}" for source in self.sources)])

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
            "request": self.request,
            "receipt": self.receipt,
            "also": list(self.also),
        }


@dataclass(frozen=True)
class ForgetRequest:
    """What somebody asks to forget, of which a part may be forgotten already.

    Attributes:
        classes: ids or names that are left to forget.
        sources: likewise.
        rows: all rows meant, also those that are forgotten already; empty where only new ones are asked for.
        done: everything is forgotten already.
    """

    classes: tuple[str, ...]
    sources: tuple[str, ...]
    rows: tuple[RowKey, ...] = ()
    done: bool = False

    @classmethod
    def of(cls, bundle: Bundle, classes: Texts, sources: Texts, *, again: bool) -> ForgetRequest:
        """Tell what the bundle still has from what is forgotten already.

        Args:
            bundle: an opened bundle.
            classes: ids or names.
            sources: of rows kept apart by source.
            again: what is forgotten already may be asked for: copies of it are looked for. Otherwise it is left in
                `classes` and `sources`, and planning refuses it.

        Raises:
            UnknownClassError: the model never had one of the classes.
            BankError: the bank cannot be read.
        """
        classes, sources = as_texts(classes), as_texts(sources)
        if not again:
            return cls(tuple(classes), tuple(sources))
        there, every = set(bundle.stored_bank().row_keys), set(bundle.manifest.rows)
        ids = {text: bundle.manifest.find_class(text).id for text in classes}
        by_class = {text: {key for key in every if key.class_id == class_id} for text, class_id in ids.items()}
        by_source = {text: {key for key in every if text and key.source == text} for text in sources}
        meant = set[RowKey]().union(*by_class.values(), *by_source.values())
        # what has no row at all, never had one: `plan_forget` says so
        due_classes = tuple(text for text, keys in by_class.items() if keys & there or not keys)
        due_sources = tuple(text for text, keys in by_source.items() if keys & there or not keys)
        return cls(due_classes, due_sources, tuple(sorted(meant)), done=bool(meant) and not due_classes + due_sources)


@dataclass(frozen=True)
class Plan:
    """A plan, and what it takes to carry it out.

    Attributes:
        outcome: what will have changed.
        smaller: the bank as it will be.
        rows: the rows that go, by class and source.
        stamp: of the bank and the ledger before they were read; while it is the bundle's, the plan holds.
    """

    outcome: Forgetting
    smaller: StoredBank
    rows: tuple[RowId, ...]
    stamp: BankStamp


def plan_forget(bundle: Bundle, classes: Texts, *, sources: Texts = (), request: str = "") -> Forgetting:
    """Say what forgetting these classes (ids or names) and sources would do, and change nothing.

    Raises:
        UsageError: neither a class nor a source is given, the model keeps no rows by source, a row that would stay has
            the content of one that would go, or the request cannot be called so.
        UnknownClassError: the model never had one of them.
        AlreadyForgottenError: one of them has no row any more, or never had one.
        LastRowError: no row would be left.
    """
    ledger = bundle.state.ledger()
    require_request(request, ledger)
    return make_plan(bundle, ledger, as_texts(classes), as_texts(sources)).outcome


def make_plan(bundle: Bundle, ledger: Ledger, classes: Sequence[str], sources: Sequence[str]) -> Plan:
    """Read the bank and plan what `plan_forget` says.

    Raises:
        PfedgeError: as `plan_forget`.
    """
    if not classes and not sources:
        message = "name at least one class to forget: --class ID or --class NAME"
        raise UsageError(message)
    stamp = bundle.bank_stamp()
    entries = tuple(sorted({bundle.manifest.find_class(text) for text in classes}, key=lambda entry: entry.id))
    stored = bundle.stored_bank()
    for entry in entries:
        if not entry.rows:
            message = f"class {entry.id} ({entry.name}) never had a row in this model: there is nothing to forget"
            raise AlreadyForgottenError(message)
        if entry.id not in stored.class_ids:
            message = f"class {entry.id} ({entry.name}) is already forgotten; nothing was done"
            raise AlreadyForgottenError(message)
    _require_sources(bundle, stored, sources)
    if len(entries) == len(stored):
        raise LastRowError
    named = {entry.id for entry in entries}
    gone = {key for key in stored.row_keys if key.class_id in named or (key.source and key.source in sources)}
    also = _forgotten_before(bundle, ledger, stored) - gone
    gone |= also
    smaller = stored.without(gone)
    _require_no_twin(bundle, gone, smaller.row_keys)
    outcome = Forgetting(
        model_id=bundle.manifest.model_id,
        guarantee=bundle.manifest.guarantee,
        classes=entries,
        sources=tuple(sorted(set(sources))),
        coverage=smaller.class_ids,
        bank_before=stored.digest(),
        bank_after=smaller.digest(),
        also=tuple(row.describe() for row in bundle.row_ids(sorted(also))),
    )
    return Plan(outcome, smaller, bundle.row_ids(sorted(gone)), stamp)


def require_request(request: str, ledger: Ledger) -> None:
    """Check that a forget may be called so; empty, it is called something new.

    Raises:
        UsageError: it has other signs than a request may have, or names a forget in the ledger already.
    """
    if request and not REQUEST.fullmatch(request):
        message = (
            f"a request id has 1 to 64 letters, digits and, not first, dots, dashes and underscores; got {request!r}"
        )
        raise UsageError(message)
    if request and ledger.find(request, "forget"):
        message = f"request {request!r} stands in this device's ledger already: each forget has its own"
        raise UsageError(message)


def _forgotten_before(bundle: Bundle, ledger: Ledger, stored: StoredBank) -> set[RowKey]:
    """Return rows of a bank that this device forgot: the bundle is a copy that brings them back."""
    model_id = bundle.manifest.model_id
    return {row.key for row in bundle.row_ids(stored.row_keys) if ledger.tombstones.find(model_id, row)}


def _require_no_twin(bundle: Bundle, gone: Iterable[RowKey], kept: Iterable[RowKey]) -> None:
    """Check that no row that stays has the content of one that goes: its tombstone would refuse the bundle."""
    digests = bundle.manifest.rows
    lost = {digests[key]: key for key in gone}
    for key in kept:
        if digests[key] in lost:
            row, twin = bundle.row_ids([lost[digests[key]], key])
            option = f"--source {twin.source}" if twin.source else f"--class {twin.class_id}"
            message = (
                f"the row of {twin.describe()} is that of {row.describe()}, byte for byte, and would be refused with "
                f"it: forget both in one call ({option} too); nothing was done"
            )
            raise UsageError(message)


def _require_sources(bundle: Bundle, stored: StoredBank, sources: Sequence[str]) -> None:
    """Check that there are rows of each source."""
    exported = {source for entry in bundle.manifest.classes for source in entry.rows if source}
    for source in sources:
        if not exported:
            message = f"this model keeps no rows by source: there is no source {source!r} to forget"
            raise UsageError(message)
        if source not in exported:
            message = f"unknown source {source!r}; known are: {', '.join(sorted(exported))}"
            raise UnknownClassError(message)
        if source not in stored.sources:
            message = f"source {source!r} is already forgotten; nothing was done"
            raise AlreadyForgottenError(message)
