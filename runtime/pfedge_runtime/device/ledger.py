"""The ledger: what a device did to its banks, each line chained to the one before and signed by the device.

    ledger = Ledger.read(Path("ledger.jsonl"), key)     # chain and head verified
    ledger.verify()                                     # and every signature
    [entry.act for entry in ledger.entries]             # ["adopt", "forget", "forgotten"]

A line is canonical JSON (RFC 8785) that carries the SHA-256 of the line before and an Ed25519 signature of its other
fields. The head's signature therefore vouches for all lines before it; what was cut off at the end, the floor tells
(`pfedge_runtime.device.floor`). Nothing about an input ever stands in it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pfedge_runtime.bank import RowKey
from pfedge_runtime.errors import LedgerError, SignatureError
from pfedge_runtime.files import canonical_json, parse_json, read_file
from pfedge_runtime.signing import PrivateKey, PublicKey

EMPTY = "0" * 64
ACTS = {
    "trust": "an authority that may sign restorations",
    "adopt": "a bundle taken into use, or keys of its sealed rows",
    "forget": "the decision to drop rows: from here on they are refused",
    "forgotten": "the rows are gone from the bank",
    "refuse": "a bundle that brought forgotten rows back",
    "restore": "an authority allowed forgotten rows again",
}
LEDGER_BYTES = 256 << 20


@dataclass(frozen=True)
class RowId:
    """Which row, for people and for ever: its key, the name of its class, and the SHA-256 of its content."""

    key: RowKey
    name: str
    digest: str

    @property
    def class_id(self) -> int:
        """Of what class."""
        return self.key.class_id

    @property
    def source(self) -> str:
        """Of what source; empty where the row is the whole class's."""
        return self.key.source

    def __str__(self) -> str:
        """Return `3` or `3@clinic-7`."""
        return str(self.key)

    def describe(self) -> str:
        """Return `class 3 (monocyte)` or `class 3 (monocyte) of clinic-7`."""
        return f"class {self.class_id} ({self.name})" + (f" of {self.source}" if self.source else "")

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"class": self.class_id, "name": self.name, "source": self.source, "digest": self.digest}

    @classmethod
    def from_json(cls, value: Any) -> RowId:  # noqa: ANN401 -- JSON
        """Read back what `to_json` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        row = cls(RowKey(value["class"], value["source"]), value["name"], value["digest"])
        if type(row.class_id) is not int or not all(isinstance(t, str) for t in (row.name, row.source, row.digest)):
            raise TypeError(value)
        if set(value) != {"class", "name", "source", "digest"}:
            raise ValueError(value)
        return row


@dataclass(frozen=True)
class Entry:
    """One line.

    Attributes:
        sequence: 1, 2, 3, ...
        time: UTC, `2026-01-31T12:00:00Z`.
        act: one of `ACTS`.
        request: what ties a forget, its end, its receipt and its restoration together.
        model_id: the model acted on; empty where none is.
        guarantee: that model's.
        rows: the rows acted on.
        bank_before: digest of the bank before.
        bank_after: digest of the bank after.
        about: what else belongs to the act, by name.
        previous: SHA-256 of the line before; zeros for the first.
        key: id of the device's key.
        signature: Ed25519 over the canonical JSON of all other fields, hexadecimal.
    """

    sequence: int
    time: str
    act: str
    request: str
    model_id: str = ""
    guarantee: str = ""
    rows: tuple[RowId, ...] = ()
    bank_before: str = ""
    bank_after: str = ""
    about: dict[str, str] = field(default_factory=dict, hash=False)
    previous: str = EMPTY
    key: str = ""
    signature: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**vars(self), "rows": [row.to_json() for row in self.rows]}

    def line(self) -> bytes:
        """Return the line as it stands in the ledger, without its end."""
        return canonical_json(self.to_json())

    def digest(self) -> str:
        """Return what the next line calls `previous`."""
        return hashlib.sha256(self.line()).hexdigest()

    def signed(self, key: PrivateKey) -> Entry:
        """Return the entry with that key's id and signature."""
        named = Entry(**{**vars(self), "key": key.public.id, "signature": ""})
        return Entry(**{**vars(named), "signature": key.sign(named._content()).hex()})

    def require_signature(self, key: PublicKey) -> None:
        """Check the signature.

        Raises:
            LedgerError: it is not that key's.
        """
        try:
            signature = bytes.fromhex(self.signature)
            if self.key != key.id:
                message = f"line {self.sequence} of the ledger is of another device"
                raise LedgerError(message)
            key.verify(signature, self._content())
        except (ValueError, SignatureError) as error:
            message = f"line {self.sequence} of the ledger was edited: its signature does not verify"
            raise LedgerError(message) from error

    def _content(self) -> bytes:
        return canonical_json({name: value for name, value in self.to_json().items() if name != "signature"})

    @classmethod
    def parse(cls, line: bytes, number: int) -> Entry:
        """Read a line back.

        Raises:
            LedgerError: it is not one.
        """
        value = parse_json(line, f"line {number} of the ledger", LedgerError)
        try:
            rows = tuple(RowId.from_json(row) for row in value.pop("rows"))
            entry = cls(**value, rows=rows)
            genuine = entry.line() == line and _well_typed(entry)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            message = f"line {number} of the ledger is damaged: {error}"
            raise LedgerError(message) from error
        if not genuine:
            message = f"line {number} of the ledger is damaged: it is not canonical, or a field is of another type"
            raise LedgerError(message)
        return entry


@dataclass(frozen=True)
class Ledger:
    """All lines, the first one first.

    Attributes:
        entries: the lines.
        key: the device's; None where the device has none yet, and no lines.
        torn: bytes after the last whole line: a write that was interrupted, and never acknowledged.
    """

    entries: tuple[Entry, ...]
    key: PublicKey | None
    torn: int = 0

    @property
    def head(self) -> str:
        """The SHA-256 of the last line; zeros where there is none."""
        return self.entries[-1].digest() if self.entries else EMPTY

    @classmethod
    def read(cls, path: Path, key: PublicKey) -> Ledger:
        """Read a ledger, and check its chain and its head's signature, which vouches for the rest.

        Raises:
            LedgerError: it cannot be read, or a line was edited, removed, inserted or moved.
        """
        return cls.from_bytes(read_file(path, LedgerError, limit=LEDGER_BYTES), key)

    @classmethod
    def from_bytes(cls, data: bytes, key: PublicKey) -> Ledger:
        """Read the same from its bytes.

        Raises:
            LedgerError: as `read`.
        """
        *lines, rest = data.split(b"\n")
        previous, entries = EMPTY, []
        for number, line in enumerate(lines, start=1):
            entry = Entry.parse(line, number)
            if entry.sequence != number or entry.previous != previous:
                message = (
                    f"line {number} of the ledger does not follow the one before: a line was removed, added, moved or "
                    f"edited (it calls itself {entry.sequence})"
                )
                raise LedgerError(message)
            previous = hashlib.sha256(line).hexdigest()
            entries.append(entry)
        if entries:
            entries[-1].require_signature(key)
        return cls(tuple(entries), key, len(rest))

    def verify(self) -> None:
        """Check every line's signature.

        Raises:
            LedgerError: one is not the device's.
        """
        for entry in self.entries:
            if self.key is not None:
                entry.require_signature(self.key)

    def append(self, key: PrivateKey, entry: Entry) -> Entry:
        """Return the entry as it stands at the end: numbered, chained and signed. The ledger is unchanged."""
        place = {"sequence": len(self.entries) + 1, "previous": self.head}
        return Entry(**{**vars(entry), **place}).signed(key)

    def pending(self) -> tuple[Entry, ...]:
        """Return the forgets that were decided and not yet finished."""
        done = {entry.request for entry in self.entries if entry.act == "forgotten"}
        return tuple(entry for entry in self.entries if entry.act == "forget" and entry.request not in done)

    def find(self, request: str, act: str) -> Entry | None:
        """Return the entry of that act of a request."""
        return next((entry for entry in self.entries if entry.request == request and entry.act == act), None)

    def authority(self) -> PublicKey | None:
        """Return who may sign restorations, if anyone."""
        pem = next((entry.about["key"] for entry in self.entries if entry.act == "trust"), None)
        return PublicKey.from_pem(pem.encode(), source="the authority's key in the ledger") if pem else None


@dataclass(frozen=True)
class Tombstones:
    """What must never be accepted again: each row by model and key, and by content; with the forget that decided it.

    Attributes:
        rows: (model id, the row's key) -> that forget.
        digests: the row's digest -> that forget.
    """

    rows: dict[tuple[str, RowKey], Entry]
    digests: dict[str, Entry]

    @classmethod
    def of(cls, ledger: Ledger) -> Tombstones:
        """Follow the ledger: a forget sets tombstones once it is decided, a restoration lifts those of its request."""
        lifted = {entry.request for entry in ledger.entries if entry.act == "restore"}
        rows: dict[tuple[str, RowKey], Entry] = {}
        digests: dict[str, Entry] = {}
        for entry in ledger.entries:
            if entry.act == "forget" and entry.request not in lifted:
                for row in entry.rows:
                    rows[entry.model_id, row.key] = entry
                    digests[row.digest] = entry
        return cls(rows, digests)

    def find(self, model_id: str, row: RowId) -> Entry | None:
        """Return the forget that forbids a row of a model, if one does."""
        return self.rows.get((model_id, row.key)) or self.digests.get(row.digest)


def _well_typed(entry: Entry) -> bool:
    texts = (
        *(getattr(entry, name) for name in ("time", "request", "model_id", "guarantee", "bank_before", "bank_after")),
        *(entry.previous, entry.key, entry.signature, *entry.about, *entry.about.values()),
    )
    return (
        entry.act in ACTS
        and type(entry.sequence) is int
        and all(isinstance(text, str) for text in texts)
        and (entry.act != "trust" or "key" in entry.about)
    )
