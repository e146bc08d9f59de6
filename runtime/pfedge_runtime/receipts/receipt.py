r"""Receipts: a device's signed statement that rows were forgotten, which anyone can check offline.

    receipt = Receipt.verify(Path("receipt.json").read_bytes(), [PublicKey.load(Path("device.pub"))])
    print("\n".join(receipt.stated()))

An in-toto Statement v1 in a DSSE envelope (`pfedge_runtime.signing.envelope`), predicate type `pfedge/forget/v1`. It
follows from two lines of the ledger, and can be made again from them, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pfedge_runtime.bank import GUARANTEES
from pfedge_runtime.device import Entry, ForgottenAbout, RowId
from pfedge_runtime.errors import SignatureError
from pfedge_runtime.files import safe_reason
from pfedge_runtime.signing import PrivateKey, PublicKey, read_unverified, sign_statement, verify_statement

PREDICATE = "pfedge/forget/v1"


@dataclass(frozen=True)
class Receipt:
    """What a device states about one forget.

    Attributes:
        request: the forget's id.
        time: when it was finished, UTC.
        model_id: of what model.
        guarantee: that model's.
        rows: the rows forgotten, with their classes' names.
        bank_before: digest of the bank before.
        bank_after: digest of the bank after.
        bank_file: SHA-256 of the bank's file after.
        graph: SHA-256 of the graph, which forgetting does not change.
        engines: SHA-256 of each engine, by key; likewise.
        audit: SHA-256 of the audit report that the bundle names for the class, of several in the order of their
            ids with a space between; empty where it names none.
        ledger_lines: how many lines the device's ledger had when the forget was finished.
        ledger_head: SHA-256 of the last of them.
        device: id of the device's key.
    """

    request: str
    time: str
    model_id: str
    guarantee: str
    rows: tuple[RowId, ...]
    bank_before: str
    bank_after: str
    bank_file: str
    graph: str
    engines: dict[str, str]
    audit: str
    ledger_lines: int
    ledger_head: str
    device: str

    @classmethod
    def of(cls, done: Entry) -> Receipt:
        """Make the receipt of a finished forget from its line in the ledger."""
        about = ForgottenAbout.of(done)
        return cls(
            request=done.request,
            time=done.time,
            model_id=done.model_id,
            guarantee=done.guarantee,
            rows=done.rows,
            bank_before=done.bank_before,
            bank_after=done.bank_after,
            bank_file=about.bank_file,
            graph=about.graph,
            engines=dict(about.engines),
            audit=about.audit,
            ledger_lines=done.sequence,
            ledger_head=done.digest(),
            device=done.key,
        )

    def sign(self, key: PrivateKey) -> bytes:
        """Return the signed statement."""
        predicate = {
            "request": self.request,
            "time": self.time,
            "model_id": self.model_id,
            "guarantee": {"name": self.guarantee, "does_not_reach": self.does_not_reach},
            "rows": [row.to_json() for row in self.rows],
            "bank": {"before": self.bank_before, "after": self.bank_after},
            "graph": self.graph,
            "engines": self.engines,
            "audit": self.audit,
            "ledger": {"lines": self.ledger_lines, "head": self.ledger_head},
            "device": self.device,
        }
        subject = [{"name": "bank.safetensors", "digest": {"sha256": self.bank_file}}]
        return sign_statement(subject, PREDICATE, predicate, key)

    @classmethod
    def verify(cls, data: bytes, keys: list[PublicKey], *, source: str = "receipt") -> Receipt:
        """Read a receipt that one of these keys signed.

        Raises:
            SignatureError: it is none, or none of them did.
        """
        statement, signer = verify_statement(data, keys, PREDICATE, source=source)
        receipt = cls._read(statement, source)
        if receipt.device != signer:
            message = f"{source} speaks for another device ({receipt.device[:16]}) than the one that signed it"
            raise SignatureError(message)
        return receipt

    @classmethod
    def read_unverified(cls, data: bytes, *, source: str = "receipt") -> Receipt:
        """Read a receipt without checking who signed it; trust nothing of it.

        Raises:
            SignatureError: it is none.
        """
        return cls._read(read_unverified(data, PREDICATE, source=source)[0], source)

    @classmethod
    def _read(cls, statement: dict[str, Any], source: str) -> Receipt:
        try:
            predicate, (subject,) = statement["predicate"], statement["subject"]
            receipt = cls(
                request=predicate["request"],
                time=predicate["time"],
                model_id=predicate["model_id"],
                guarantee=predicate["guarantee"]["name"],
                rows=tuple(RowId.from_json(row) for row in predicate["rows"]),
                bank_before=predicate["bank"]["before"],
                bank_after=predicate["bank"]["after"],
                bank_file=subject["digest"]["sha256"],
                graph=predicate["graph"],
                engines=dict(predicate["engines"]),
                audit=predicate["audit"],
                ledger_lines=predicate["ledger"]["lines"],
                ledger_head=predicate["ledger"]["head"],
                device=predicate["device"],
            )
            others = {"rows", "engines", "ledger_lines"}
            texts = [value for name, value in vars(receipt).items() if name not in others]
            texts += [*receipt.engines, *receipt.engines.values()]
            if not all(isinstance(text, str) for text in texts) or type(receipt.ledger_lines) is not int:
                raise TypeError(texts)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = f"{source} lacks or misstates a field: {safe_reason(error)}"
            raise SignatureError(message) from error
        return receipt

    @property
    def does_not_reach(self) -> str:
        """What of the class its guarantee does not reach; empty where this version does not know the guarantee."""
        known = GUARANTEES.get(self.guarantee)
        return known.does_not_reach if known else ""

    def verified(self) -> list[str]:
        """Say in plain words what `verify` checked."""
        return [
            f"the signature: it is of the device's key {self.device[:16]}, and nobody has changed a word since",
        ]

    def stated(self) -> list[str]:
        """Say in plain words what the device states, which holds as far as its key and its software are trusted."""
        rows = ", ".join(row.describe() for row in self.rows)
        return [
            f"on {self.time} it forgot {rows}",
            f"of model {self.model_id} (guarantee {self.guarantee}), request {self.request}",
            f"its bank then had the digest {self.bank_after[:16]}..., its file the SHA-256 {self.bank_file[:16]}...",
            f"the graph ({self.graph[:16]}...) and {len(self.engines)} engines were not changed, and hold no row",
            f"its ledger had {self.ledger_lines} lines, the last with SHA-256 {self.ledger_head[:16]}...",
        ]

    def not_proved(self) -> list[str]:
        """Say in plain words what it does not prove."""
        return [
            "that it still holds: an authority may have allowed the rows again since, which the device's ledger shows",
            f"beyond the row, guarantee {self.guarantee} does not reach: {self.does_not_reach or 'unknown'}",
            "copies of the bundle on other devices and media: each device gives a receipt of its own",
            "copies of rows that were not sealed (pfedge export --seal): only destroying a key kills every copy",
            "that the device's software was the genuine one: the key vouches for the device, not for what runs on it",
            "the training data, and what was learned elsewhere from them",
        ]
