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
from dataclasses import dataclass, replace
from pathlib import Path

from pfedge_runtime._compat import cached_property
from pfedge_runtime.bank import RowKey
from pfedge_runtime.device.entry import EMPTY, Entry, RowId
from pfedge_runtime.errors import LedgerError
from pfedge_runtime.files import read_file
from pfedge_runtime.signing import PrivateKey, PublicKey

LEDGER_BYTES = 256 << 20


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
        return replace(entry, sequence=len(self.entries) + 1, previous=self.head).signed(key)

    def pending(self) -> tuple[Entry, ...]:
        """Return the forgets that were decided and not yet finished."""
        done = {entry.request for entry in self.entries if entry.act == "forgotten"}
        return tuple(entry for entry in self.entries if entry.act == "forget" and entry.request not in done)

    @cached_property
    def tombstones(self) -> Tombstones:
        """What must never be accepted again."""
        return Tombstones.of(self)

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
