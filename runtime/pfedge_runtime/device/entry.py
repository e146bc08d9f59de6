"""A line of the ledger: one act of a device, and which rows it concerned.

    decision = Entry.forget(request="r1", model_id=..., rows=[row], ..., about=ForgetAbout("/opt/pfedge/blood"))
    line = decision.signed(key).line()                 # canonical JSON (RFC 8785)

There is one constructor an act. What an act says besides is typed here, and a flat object of texts in the line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pfedge_runtime.bank import RowKey
from pfedge_runtime.errors import LedgerError, SignatureError
from pfedge_runtime.files import canonical_json, parse_json
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
ENGINE = "engine:"  # before the name of an engine in a line
UNPLACED: dict[str, Any] = {"sequence": 0, "previous": EMPTY, "key": "", "signature": ""}


def now() -> str:
    """Return the time, UTC, to the second: `2026-01-31T12:00:00Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class TrustAbout:
    """Of whom a device accepts restorations.

    Attributes:
        key: the public key, PEM.
        id: its id.
    """

    key: str
    id: str

    def to_json(self) -> dict[str, str]:
        """Return what stands in the line."""
        return {"key": self.key, "id": self.id}


@dataclass(frozen=True)
class ForgetAbout:
    """Where a forget that is decided is to be done.

    Attributes:
        bundle: the bundle's folder, absolute and without links.
    """

    bundle: str

    def to_json(self) -> dict[str, str]:
        """Return what stands in the line."""
        return {"bundle": self.bundle}

    @classmethod
    def of(cls, decision: Entry) -> ForgetAbout:
        """Read it back."""
        return cls(decision.about.get("bundle", ""))


@dataclass(frozen=True)
class ForgottenAbout:
    """What a bundle was once a forget was done.

    Attributes:
        bank_file: SHA-256 of the bank's file.
        graph: SHA-256 of the graph, which forgetting does not change.
        audit: SHA-256 of the audit reports that the bundle names for the classes, with a space between; may be empty.
        engines: SHA-256 of each engine that lies in the bundle, by name.
    """

    bank_file: str
    graph: str
    audit: str = ""
    engines: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, str]:
        """Return what stands in the line."""
        audit = {"audit": self.audit} if self.audit else {}
        engines = {f"{ENGINE}{name}": digest for name, digest in self.engines.items()}
        return {"bank_file": self.bank_file, "graph": self.graph, **audit, **engines}

    @classmethod
    def of(cls, done: Entry) -> ForgottenAbout:
        """Read it back."""
        about = done.about
        engines = {name.removeprefix(ENGINE): digest for name, digest in about.items() if name.startswith(ENGINE)}
        return cls(about.get("bank_file", ""), about.get("graph", ""), about.get("audit", ""), engines)


@dataclass(frozen=True)
class RestoreAbout:
    """Who allowed forgotten rows again.

    Attributes:
        authority: id of the key that signed.
    """

    authority: str

    def to_json(self) -> dict[str, str]:
        """Return what stands in the line."""
        return {"authority": self.authority}


@dataclass(frozen=True)
class RowId:
    """Which row, for people and for ever: its key, the name of its class, and the SHA-256 of its content.

    >>> RowId(RowKey(3, "clinic-7"), "monocyte", "9f86d081884c7d65").describe()
    'class 3 (monocyte) of clinic-7'
    """

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


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line: an act, made by the method of its name; its place and signature come when it is appended.

    Attributes:
        sequence: 1, 2, 3, ...; 0 until it is appended.
        time: UTC, `2026-01-31T12:00:00Z`.
        act: one of `ACTS`.
        request: what ties a forget, its end, its receipt and its restoration together.
        model_id: the model acted on; empty where none is.
        guarantee: that model's.
        rows: the rows acted on.
        bank_before: digest of the bank before.
        bank_after: digest of the bank after.
        about: what else belongs to the act, by name: what the `About` of the act gave.
        previous: SHA-256 of the line before; zeros for the first.
        key: id of the device's key.
        signature: Ed25519 over the canonical JSON of all other fields, hexadecimal.
    """

    sequence: int = 0
    time: str = field(default_factory=now)
    act: str
    request: str = ""
    model_id: str = ""
    guarantee: str = ""
    rows: tuple[RowId, ...] = ()
    bank_before: str = ""
    bank_after: str = ""
    about: dict[str, str] = field(default_factory=dict, hash=False)
    previous: str = EMPTY
    key: str = ""
    signature: str = ""

    @classmethod
    def trust(cls, authority: PublicKey) -> Entry:
        """This authority, and no other, may sign restorations."""
        return cls(act="trust", about=TrustAbout(authority.to_pem().decode(), authority.id).to_json())

    @classmethod
    def adopt(cls, *, model_id: str, guarantee: str, rows: Sequence[RowId], bank: str) -> Entry:
        """A bundle was taken into use; `rows` are those whose keys were taken with it."""
        rows = tuple(rows)
        return cls(act="adopt", model_id=model_id, guarantee=guarantee, rows=rows, bank_before=bank, bank_after=bank)

    @classmethod
    def forget(
        cls,
        *,
        request: str,
        model_id: str,
        guarantee: str,
        rows: Sequence[RowId],
        bank_before: str,
        bank_after: str,
        about: ForgetAbout,
    ) -> Entry:
        """It is decided that these rows go: from here on they are refused."""
        return cls(
            act="forget",
            request=request,
            model_id=model_id,
            guarantee=guarantee,
            rows=tuple(rows),
            bank_before=bank_before,
            bank_after=bank_after,
            about=about.to_json(),
        )

    @classmethod
    def forgotten(cls, decision: Entry, *, bank_after: str, about: ForgottenAbout) -> Entry:
        """What was decided is done: the bank has this digest now."""
        return replace(decision, act="forgotten", time=now(), bank_after=bank_after, about=about.to_json(), **UNPLACED)

    @classmethod
    def refuse(cls, forget: Entry, *, model_id: str, rows: Sequence[RowId], bank: str) -> Entry:
        """A bank was refused because of rows that this forget forbids."""
        return cls(
            act="refuse",
            request=forget.request,
            model_id=model_id,
            rows=tuple(rows),
            bank_before=bank,
            bank_after=bank,
        )

    @classmethod
    def restore(cls, forget: Entry, *, about: RestoreAbout) -> Entry:
        """An authority allowed the rows of this forget again; no bank changes by it."""
        return replace(
            forget, act="restore", time=now(), bank_before=forget.bank_after, about=about.to_json(), **UNPLACED
        )

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
        named = replace(self, key=key.public.id, signature="")
        return replace(named, signature=key.sign(named.signed_content()).hex())

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
            key.verify(signature, self.signed_content())
        except (ValueError, SignatureError) as error:
            message = f"line {self.sequence} of the ledger was edited: its signature does not verify"
            raise LedgerError(message) from error

    def signed_content(self) -> bytes:
        """Return what the signature covers: every other field."""
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
