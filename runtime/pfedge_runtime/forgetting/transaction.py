"""Forgetting: drop rows from a bundle's bank, for good.

    plan = plan_forget(Bundle.open("bundle"), ["3"])
    outcome = forget("bundle", ["3"])                # outcome.receipt is the file that proves it

One recoverable transaction, under the locks of the device's state and of the bundle:

1. the smaller bank is written beside the old one (a full disk is noticed here, and nothing was done);
2. the decision enters the ledger: from here on the rows are refused, whatever happens;
3. keys of sealed rows are destroyed; the smaller bank takes the old one's name, the old one's bytes are overwritten;
4. the end enters the ledger, the floor rises, the receipt is written.

Killed in between, `recover` finishes what was decided. Graph, engines and manifest stay as they are: what the bundle
can still recognise follows from its bank.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pfedge_runtime.bank import RowKey, StoredBank
from pfedge_runtime.bundle import MANIFEST, Bundle, ClassEntry, Manifest
from pfedge_runtime.device import DeviceState, Entry, Ledger, Writer, now
from pfedge_runtime.engines import list_engines
from pfedge_runtime.errors import (
    AlreadyForgottenError,
    BundleError,
    LastRowError,
    PfedgeError,
    StorageError,
    UnknownClassError,
    UsageError,
)
from pfedge_runtime.files import (
    erase,
    exclusive,
    finish_erasing,
    make_folder,
    remove_leftovers,
    replace_erasing,
    require_sole_copy,
    require_writable,
    sha256_file,
    staged_file,
    write_atomic,
)
from pfedge_runtime.receipts import Receipt

REQUEST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


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
        milliseconds: what the transaction took, from taking the locks to the receipt; 0 for a plan.
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


def plan_forget(
    bundle: Bundle, classes: Sequence[str], *, sources: Sequence[str] = (), request: str = ""
) -> Forgetting:
    """Say what forgetting these classes (ids or names) and sources would do, and change nothing.

    Raises:
        UsageError: neither a class nor a source is given, the model keeps no rows by source, a row that would stay has
            the content of one that would go, or the request cannot be called so.
        UnknownClassError: the model never had one of them.
        AlreadyForgottenError: one of them has no row any more, or never had one.
        LastRowError: no row would be left.
    """
    _require_request(request, bundle.state.ledger())
    return _plan(bundle, classes, sources)[0]


def forget(
    path: str | os.PathLike[str],
    classes: Sequence[str],
    *,
    sources: Sequence[str] = (),
    request: str = "",
    state: DeviceState | None = None,
) -> Forgetting:
    """Drop the rows of these classes (ids or names) and sources from the bundle at `path`.

    When it returns, the bank on disk no longer has them, the device refuses them, and the receipt lies in its state.
    If it raises before the decision is in the ledger, nothing was done; after it, the rows are refused, and the next
    start of any verb finishes.

    Args:
        path: the bundle.
        classes: ids or names.
        sources: of rows kept apart by source.
        request: what names the forget in ledger and receipt: letters, digits, `.`, `_`, `-`; nothing about a patient.
            Empty makes one up.
        state: what the device remembers; by default what `DeviceState.at` finds.

    Raises:
        PfedgeError: as `Bundle.open` and `plan_forget`; StorageError where something cannot be written.
    """
    bundle = Bundle.open(path, read_bank=False, state=state)  # it is read once nobody else can change it
    _require_request(request, bundle.state.ledger())
    started = time.perf_counter()
    with ThreadPoolExecutor(1) as hashing, bundle.state.writing() as writer:
        here = str(bundle.path.resolve())
        for decision, problem in _finish_all(writer, bundle.path):
            if decision.about["bundle"] == here and decision.model_id == bundle.manifest.model_id:
                raise StorageError(problem)
        _require_request(request, writer.ledger())
        with exclusive(bundle.path):
            require_sole_copy(bundle.bank_path)
            require_writable(bundle.bank_path)
            finish_erasing(bundle.bank_path)
            plan, stored, smaller, gone = _plan(bundle, classes, sources)
            data = smaller.to_bytes()
            bank_file = hashing.submit(_sha256, data)
            with staged_file(bundle.bank_path, data) as new:
                decision = Entry(
                    0,
                    now(),
                    "forget",
                    request or uuid.uuid4().hex,
                    plan.model_id,
                    plan.guarantee,
                    bundle.row_ids(sorted(gone)),
                    stored.digest(),
                    smaller.digest(),
                    {"bundle": here},
                )
                decision = writer.append(decision)
                _destroy_keys(writer.state, decision)
                replace_erasing(new, bundle.bank_path)
            receipt = _complete(writer, decision, bundle, smaller.digest(), bank_file.result())
    elapsed = (time.perf_counter() - started) * 1000
    return replace(plan, milliseconds=elapsed, request=decision.request, receipt=str(receipt))


def recover(state: DeviceState | None = None, *, at: Path | None = None) -> list[str]:
    """Finish what a killed forget decided; return what could not be finished, in words.

    Args:
        state: what the device remembers; by default what `DeviceState.at` finds.
        at: a bundle in use: a forget whose bundle was moved is finished there, if it is of the same model.

    Raises:
        LedgerError, StateError: what the device remembers cannot be trusted.
        StorageError: the state is there and cannot be written.
    """
    state = state or DeviceState.at()
    ledger = state.ledger()
    done = [entry for entry in ledger.entries if entry.act == "forgotten"]
    receipts_missing = any(not _receipt_path(state, entry.request).exists() for entry in done)
    if not ledger.pending() and not receipts_missing and not ledger.torn:
        return []
    with state.writing() as writer:
        return [problem for _, problem in _finish_all(writer, at)]


def _finish_all(writer: Writer, at: Path | None) -> list[tuple[Entry, str]]:
    """Finish what was decided and not finished, and write receipts that are missing; return what could not be."""
    problems = []
    for decision in writer.ledger().pending():
        try:
            _destroy_keys(writer.state, decision)  # for which no bundle is needed
            _finish(writer, decision, _where(decision, at))
        except (PfedgeError, OSError) as error:
            rows = ", ".join(row.describe() for row in decision.rows)
            problem = (
                f"forgetting {rows} is decided (request {decision.request}) and not finished: {error}; put the bundle "
                "back, or name it where it is now (--bundle)"
            )
            problems.append((decision, problem))
    for entry in writer.ledger().entries:
        if entry.act == "forgotten":
            _write_receipt(writer, entry)
    writer.raise_floor()
    return problems


def _where(decision: Entry, at: Path | None) -> Path:
    """Return where the bundle of a decision is: where it was, or at `at` if that has its model and it is gone there."""
    path = Path(decision.about["bundle"])
    if at is not None and not _holds(path, decision.model_id) and _holds(at, decision.model_id):
        return at
    return path


def _holds(path: Path, model_id: str) -> bool:
    try:
        return Manifest.load(path / MANIFEST).model_id == model_id
    except BundleError:
        return False


def _finish(writer: Writer, decision: Entry, path: Path) -> None:
    """Take up a forget after its decision, whatever of it was done."""
    bundle = Bundle.open(path, read_bank=False, state=writer.state)
    if bundle.manifest.model_id != decision.model_id:
        message = f"{bundle.path} is another model by now"
        raise AlreadyForgottenError(message)
    with exclusive(bundle.path):
        finish_erasing(bundle.bank_path)
        require_sole_copy(bundle.bank_path)
        stored = bundle.stored_bank()
        gone = {row.key for row in decision.rows}
        if gone & set(stored.row_keys):
            stored = stored.without(gone)
            with staged_file(bundle.bank_path, stored.to_bytes()) as new:
                replace_erasing(new, bundle.bank_path)
        _complete(writer, decision, bundle, stored.digest(), sha256_file(bundle.bank_path))


def _complete(writer: Writer, decision: Entry, bundle: Bundle, bank_after: str, bank_file: str) -> Path:
    """Enter the end into the ledger, raise the floor and write the receipt; return where it lies."""
    about = {"bank_file": bank_file, "graph": bundle.manifest.files["graph.onnx"]["sha256"]}
    audits = bundle.manifest.audits
    named = [
        audits[str(class_id)] for class_id in sorted({row.class_id for row in decision.rows}) if str(class_id) in audits
    ]
    if named:
        about["audit"] = " ".join(named)
    with suppress(PfedgeError):  # a damaged engine is refused when it is loaded; it holds no row
        about |= {f"engine:{one['target']}-{one['sha256'][:8]}": one["sha256"] for one in list_engines(bundle.path)}
    end = replace(decision, act="forgotten", time=now(), bank_after=bank_after, about=about)
    entry = writer.append(end)
    writer.raise_floor()
    return _write_receipt(writer, entry)


def _sha256(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()


def _write_receipt(writer: Writer, entry: Entry) -> Path:
    path = _receipt_path(writer.state, entry.request)
    if not path.exists():
        make_folder(path.parent, mode=0o700)
        remove_leftovers(path)
        write_atomic(path, Receipt.of(entry).sign(writer.key))
    return path


def _receipt_path(state: DeviceState, request: str) -> Path:
    return state.receipts / f"{request}.json"


def _destroy_keys(state: DeviceState, decision: Entry) -> None:
    for row in decision.rows:
        path = state.row_key_path(decision.model_id, row.key)
        if path.exists():
            erase(path)


def _plan(
    bundle: Bundle, classes: Sequence[str], sources: Sequence[str]
) -> tuple[Forgetting, StoredBank, StoredBank, set[RowKey]]:
    """Return the plan, the bank as it is, the bank as it will be, and the rows that go."""
    if not classes and not sources:
        message = "name at least one class to forget: --class ID or --class NAME"
        raise UsageError(message)
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
    also = _forgotten_before(bundle, stored) - gone
    gone |= also
    smaller = stored.without(gone)
    _require_no_twin(bundle, gone, smaller.row_keys)
    plan = Forgetting(
        model_id=bundle.manifest.model_id,
        guarantee=bundle.manifest.guarantee,
        classes=entries,
        sources=tuple(sorted(set(sources))),
        coverage=smaller.class_ids,
        bank_before=stored.digest(),
        bank_after=smaller.digest(),
        also=tuple(row.describe() for row in bundle.row_ids(sorted(also))),
    )
    return plan, stored, smaller, gone


def _forgotten_before(bundle: Bundle, stored: StoredBank) -> set[RowKey]:
    """Return rows of a bank that this device forgot: the bundle is a copy that brings them back."""
    tombstones, model_id = bundle.state.tombstones(), bundle.manifest.model_id
    return {row.key for row in bundle.row_ids(stored.row_keys) if tombstones.find(model_id, row)}


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


def _require_request(request: str, ledger: Ledger) -> None:
    """Check that a forget may be called so."""
    if request and not REQUEST.fullmatch(request):
        message = (
            f"a request id has 1 to 64 letters, digits and, not first, dots, dashes and underscores; got {request!r}"
        )
        raise UsageError(message)
    if request and ledger.find(request, "forget"):
        message = f"request {request!r} stands in this device's ledger already: each forget has its own"
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
