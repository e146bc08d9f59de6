"""Undoing a forget, which no device can do alone: it takes a statement signed by an authority's key.

    trust(state, PublicKey.load(Path("authority.pub")))           # once, before anything was forgotten
    data = authorize(receipt, authority_key)                      # elsewhere, where that key is
    restore(state, data)                                          # the tombstones of that one forget are lifted

A statement names the device and the forget, so it serves once and nowhere else. Rows do not come back by it: a bundle
that has them is accepted again, and keys of sealed rows must be adopted anew.
"""

from __future__ import annotations

from pfedge_runtime.device import DeviceState, Entry, Ledger, RestoreAbout
from pfedge_runtime.errors import SignatureError, StateError, UsageError
from pfedge_runtime.receipts.receipt import Receipt
from pfedge_runtime.signing import PrivateKey, PublicKey, sign_statement, verify_statement
from pfedge_runtime.spelling import composed

PREDICATE = "pfedge/restore/v1"


def trust(state: DeviceState, authority: PublicKey) -> Entry:
    """Record who may allow forgotten rows again. It can be said once, and only before anything was forgotten.

    Raises:
        StateError: another authority is recorded already, or something was forgotten.
        StorageError: the ledger cannot be written.
    """
    with state.writing() as writer:
        _require_trustable(writer.ledger, authority)
        for entry in writer.ledger.entries:
            if entry.act == "trust":
                return entry
        entry = writer.append(Entry.trust(authority))
        writer.raise_floor()
    return entry


def require_trustable(state: DeviceState, authority: PublicKey) -> None:
    """Check that `trust` would record this authority, or has.

    Raises:
        StateError: as `trust`.
    """
    _require_trustable(state.ledger(), authority)


def _require_trustable(ledger: Ledger, authority: PublicKey) -> None:
    known = ledger.authority()
    if known is not None and known.id != authority.id:
        message = "this device has its authority already; it cannot be changed"
        raise StateError(message)
    if known is None and any(entry.act == "forget" for entry in ledger.entries):
        message = "this device has forgotten rows already: an authority named now could undo it"
        raise StateError(message)


def authorize(receipt: Receipt, authority: PrivateKey) -> bytes:
    """Return a statement that the device of a receipt may accept its rows again."""
    predicate = {
        "request": receipt.request,
        "device": receipt.device,
        "model_id": receipt.model_id,
        "rows": [row.to_json() for row in receipt.rows],
    }
    subject = [{"name": f"row {row}", "digest": {"sha256": row.digest}} for row in receipt.rows]
    return sign_statement(subject, PREDICATE, predicate, authority)


def restore(state: DeviceState, data: bytes, *, class_id: int | str | None = None, source: str = "statement") -> Entry:
    """Lift the tombstones of one forget, as an authority allowed, and record it.

    Args:
        state: the device's.
        data: what `authorize` gave.
        class_id: the id or name of a class that must be among the rows of that forget.
        source: names the statement in errors.

    Raises:
        StateError: this device trusts no authority.
        SignatureError: the statement is not that authority's, or is for another device or forget.
        UsageError: the forget did not concern that class, the text means two, or it was undone already.
        StorageError: the ledger cannot be written.
    """
    with state.writing() as writer:
        ledger = writer.ledger
        authority = ledger.authority()
        if authority is None:
            message = "this device trusts no authority: what it forgot stays forgotten"
            raise StateError(message)
        statement, _ = verify_statement(data, [authority], PREDICATE, source=source)
        forget = _forget_of(statement, writer.key.public.id, ledger.entries, source)
        asked = composed(str(class_id))
        meant = {row.class_id for row in forget.rows if asked in {str(row.class_id), composed(row.name)}}
        if class_id is not None and len(meant) != 1:  # a name may be another's id: then it says nothing
            message = f"{source} concerns {', '.join(row.describe() for row in forget.rows)}, not class {class_id}"
            raise UsageError(message)
        if ledger.find(forget.request, "restore"):
            message = f"{source} has served already: request {forget.request} was undone"
            raise UsageError(message)
        entry = writer.append(Entry.restore(forget, about=RestoreAbout(authority.id)))
        writer.raise_floor()
    return entry


def _forget_of(statement: dict[str, object], device: str, entries: tuple[Entry, ...], source: str) -> Entry:
    predicate = statement.get("predicate")
    if not isinstance(predicate, dict) or predicate.get("device") != device:
        message = f"{source} is for another device"
        raise SignatureError(message)
    for entry in entries:
        if entry.act == "forget" and entry.request == predicate.get("request"):
            if [row.to_json() for row in entry.rows] != predicate.get("rows"):
                message = f"{source} names other rows than request {entry.request} forgot"
                raise SignatureError(message)
            return entry
    message = f"{source} is for a forget that this device never did"
    raise SignatureError(message)
