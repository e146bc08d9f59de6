"""Sealed rows: each row of a bank encrypted under a key of its own, so that destroying the key kills every copy of it.

    sealed, keys = seal(bank)                          # keys: (class id, source) -> 32 bytes
    bank = sealed.open(keys, digests)                  # decrypted in memory only

AES-256-GCM (NIST SP 800-38D) of the encoding of a bank of that one row; what is authenticated besides is which row it
is and the SHA-256 of its content, so that a sealed row cannot pass for another.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pfedge_runtime.bank.codec import ZeroizedBytes, decode, encode, read_zeroized
from pfedge_runtime.bank.decision import Bank
from pfedge_runtime.bank.prompt_bank import PromptBank
from pfedge_runtime.bank.records import PROMPT_FORMAT
from pfedge_runtime.bank.rows import RowKey
from pfedge_runtime.bank.statistics import RowStatistics
from pfedge_runtime.bank.statistics_bank import KeyedRows, StatisticsBank
from pfedge_runtime.errors import BankError, LastRowError, SealError
from pfedge_runtime.files import canonical_json, parse_json, safe_reason

SEALED_FORMAT = "pfedge-sealed/1"
NONCE, TAG, KEY_BYTES = 12, 16, 32


@dataclass(frozen=True)
class SealedBank(KeyedRows):
    """The rows that a model still has, encrypted, in order of class and source. Immutable.

    Attributes:
        rows: key -> nonce and ciphertext.
        of: the format of what is inside.
    """

    rows: dict[RowKey, bytes]
    of: str

    def keep(self, keys: Iterable[RowKey]) -> SealedBank:
        """Return the bank that has only these rows.

        Raises:
            LastRowError: none is left.
        """
        rows = {key: self.rows[key] for key in keys}
        if not rows:
            raise LastRowError
        return SealedBank(rows, self.of)

    def digest(self) -> str:
        """Return the SHA-256 of the bank: its rows and the digests of what stands for them."""
        rows = "".join(f"|{key}:{hashlib.sha256(data).hexdigest()}" for key, data in self.rows.items())
        return hashlib.sha256(f"{SEALED_FORMAT}|{self.of}{rows}".encode()).hexdigest()

    def to_bytes(self) -> ZeroizedBytes:
        """Return the safetensors encoding, `rows.<class id>[@<source>].sealed`."""
        tensors = {f"rows.{key}.sealed": np.frombuffer(data, dtype=np.uint8) for key, data in self.rows.items()}
        return encode(tensors, canonical_json({"format": SEALED_FORMAT, "of": self.of}).decode())

    def open(self, keys: Mapping[RowKey, bytes], digests: Mapping[RowKey, str]) -> Bank:
        """Decrypt every row.

        Args:
            keys: of each row.
            digests: of each row's content, from the manifest.

        Raises:
            SealError: a key is missing, another's, or a row was tampered with.
            BankError: what was inside is no row.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        banks: list[Bank] = []
        for key, data in self.rows.items():
            place = (key.class_id, key.source)
            if place not in keys:
                message = f"row {key} is sealed and this device has no key for it: pfedge adopt --keys FILE"
                raise SealError(message)
            plain = ZeroizedBytes(max(0, len(data) - NONCE - TAG))
            try:
                context = _context(key, digests.get(place, ""))
                AESGCM(keys[place]).decrypt_into(data[:NONCE], data[NONCE:], context, plain)
            except (InvalidTag, ValueError, OverflowError) as error:  # the last where it is larger than 2 GiB
                message = f"row {key} does not open with this device's key: it is another's, or the row was changed"
                raise SealError(message) from error
            source = f"the sealed row {key}"
            kind = PromptBank if self.of == PROMPT_FORMAT else StatisticsBank
            one: Bank = kind.from_bytes(plain, source=source)
            if tuple(one.row_digests()) != (place,):
                message = f"{source} holds another row"
                raise SealError(message)
            banks.append(one)
        return _join(banks)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray, *, source: str) -> SealedBank:
        """Read a bank back; `source` names it in errors.

        Raises:
            BankError: the bytes are not a whole bank of this format.
        """
        arrays, form = decode(data, source)
        try:
            about = parse_json(form, source, BankError)
            if about["format"] != SEALED_FORMAT or set(about) != {"format", "of"} or not isinstance(about["of"], str):
                message = f"{source} is not a bank of format {SEALED_FORMAT}: its format is {form}"
                raise BankError(message)
            rows = {}
            for name, array in arrays.items():
                prefix, _, rest = name.partition(".")
                key, _, part = rest.rpartition(".")
                if prefix != "rows" or part != "sealed" or array.dtype != np.uint8 or array.ndim != 1:
                    message = f"{source} holds a tensor {name!r} that is no sealed row"
                    raise BankError(message)
                rows[RowKey.parse(key)] = array.tobytes()
        except (ValueError, TypeError, KeyError) as error:
            message = f"{source} is damaged or not a bank of sealed rows: {safe_reason(error)}"
            raise BankError(message) from error
        if not rows:
            message = f"{source} has no rows"
            raise BankError(message)
        return cls({key: rows[key] for key in sorted(rows)}, about["of"])

    @classmethod
    def load(cls, path: Path) -> SealedBank:
        """Read a bank file.

        Raises:
            BankError: the file is missing, cannot be read, or is not a whole bank.
        """
        return cls.from_bytes(read_zeroized(path), source=str(path))


def without(bank: Bank | SealedBank, places: Iterable[RowKey]) -> Bank | SealedBank:
    """Return a bank, sealed or not, without some of its rows.

    Raises:
        LastRowError: none is left.
    """
    unwanted = set(places)
    if isinstance(bank, PromptBank):
        return bank.select(class_id for class_id in bank.class_ids if (class_id, "") not in unwanted)
    return bank.keep(key for key in bank.rows if (key.class_id, key.source) not in unwanted)


def places_of(bank: Bank | SealedBank) -> tuple[RowKey, ...]:
    """Return class id and source of each row."""
    if isinstance(bank, PromptBank):
        return tuple((class_id, "") for class_id in bank.class_ids)
    return tuple((key.class_id, key.source) for key in bank.rows)


def seal(bank: Bank) -> tuple[SealedBank, dict[RowKey, bytes]]:
    """Encrypt each row under a new key, and return both."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    rows, keys, of = {}, {}, PROMPT_FORMAT
    for (class_id, source), digest in bank.row_digests().items():
        key = RowKey(class_id, source)
        if isinstance(bank, StatisticsBank):
            one, of = bank.keep([key]).to_bytes(), bank.about()["format"]
        else:
            one = bank.select({class_id}).to_bytes()
        nonce, keys[class_id, source] = os.urandom(NONCE), AESGCM.generate_key(8 * KEY_BYTES)
        rows[key] = nonce + AESGCM(keys[class_id, source]).encrypt(nonce, bytes(one), _context(key, digest))
    return SealedBank(rows, of), keys


def _context(key: RowKey, digest: str) -> bytes:
    return canonical_json({"format": SEALED_FORMAT, "row": str(key), "digest": digest})


def _join(banks: list[Bank]) -> Bank:
    first = banks[0]
    if isinstance(first, PromptBank):
        return PromptBank.joined([bank for bank in banks if isinstance(bank, PromptBank)])
    rows: dict[RowKey, RowStatistics] = {}
    for bank in banks:
        if not isinstance(bank, StatisticsBank) or bank.about() != first.about():
            message = "sealed rows of different models lie in one bank"
            raise BankError(message)
        rows |= bank.rows
    return StatisticsBank(rows, first.scale_bits, first.shrinkage)
