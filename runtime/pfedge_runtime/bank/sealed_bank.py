"""Sealed rows: each row of a bank encrypted under a key of its own, so that destroying the key kills every copy of it.

>>> from pfedge_runtime.bank.prompt_bank import PromptBank
>>> bank = PromptBank((0, 3), *(np.ones(shape, np.float32) for shape in [(2, 1, 4), (2, 4), (2,), (2,)]))
>>> sealed, keys = seal(bank)
>>> {key: len(secret) for key, secret in keys.items()}
{RowKey(class_id=0, source=''): 32, RowKey(class_id=3, source=''): 32}
>>> sealed.unsealed(keys, bank.row_digests()).to_bytes() == bank.to_bytes()  # decrypted in memory only
True

AES-256-GCM (NIST SP 800-38D) of the encoding of a bank of that one row; what is authenticated besides is which row it
is and the SHA-256 of its content, so that a sealed row cannot pass for another.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np

from pfedge_runtime.bank.codec import Buffer, ZeroizedBytes, decode, encode, read_zeroized
from pfedge_runtime.bank.guarantees import BANKS
from pfedge_runtime.bank.protocol import Bank
from pfedge_runtime.bank.rows import KeyedRows, RowKey
from pfedge_runtime.errors import BankError, LastRowError, SealError
from pfedge_runtime.files import canonical_json, parse_json, safe_reason

SEALED_FORMAT = "pfedge-sealed/1"
NONCE, TAG, KEY_BYTES = 12, 16, 32

B = TypeVar("B", bound=Bank)


@dataclass(frozen=True)
class SealedBank(KeyedRows):
    """The rows that a model still has, encrypted, in order of class and source. Immutable.

    Attributes:
        rows: key -> nonce and ciphertext.
        of: the format of what is inside.
    """

    FORMAT: ClassVar[str] = SEALED_FORMAT

    rows: dict[RowKey, bytes]
    of: str

    def __post_init__(self) -> None:
        """Order the rows."""
        object.__setattr__(self, "rows", {key: self.rows[key] for key in sorted(self.rows)})

    def keep(self, keys: Iterable[RowKey]) -> SealedBank:
        """Return the bank that has only these of its rows.

        Raises:
            LastRowError: none is left.
        """
        rows = {key: self.rows[key] for key in keys}
        if not rows:
            raise LastRowError
        return SealedBank(rows, self.of)

    def without(self, keys: Iterable[RowKey]) -> SealedBank:
        """Return the bank that has all of its rows but these; keys of rows that are not there change nothing.

        Raises:
            LastRowError: none is left.
        """
        unwanted = set(keys)
        return self.keep(key for key in self.rows if key not in unwanted)

    def row_digests(self) -> dict[RowKey, str]:
        """Return nothing: what is in a row is known only once it is decrypted."""
        return {}

    def row_bytes(self, key: RowKey) -> list[Buffer]:
        """Return a row's nonce and ciphertext."""
        return [self.rows[key]]

    def digest(self) -> str:
        """Return the SHA-256 of the bank: its rows and the digests of what stands for them."""
        rows = "".join(f"|{key}:{hashlib.sha256(data).hexdigest()}" for key, data in self.rows.items())
        return hashlib.sha256(f"{SEALED_FORMAT}|{self.of}{rows}".encode()).hexdigest()

    def to_bytes(self) -> ZeroizedBytes:
        """Return the safetensors encoding, `rows.<class id>[@<source>].sealed`."""
        tensors = {f"rows.{key}.sealed": np.frombuffer(data, dtype=np.uint8) for key, data in self.rows.items()}
        return encode(tensors, canonical_json({"format": SEALED_FORMAT, "of": self.of}).decode())

    def unsealed(self, keys: Mapping[RowKey, bytes], digests: Mapping[RowKey, str]) -> Bank:
        """Decrypt every row.

        Args:
            keys: of each row.
            digests: of each row's content, from the manifest.

        Raises:
            SealError: a key is missing, another's, or a row was tampered with.
            BankError: what was inside is no row.
        """
        kind = BANKS.get(self.of)
        if kind is None:
            message = f"what is sealed is of format {self.of}; this version reads {', '.join(BANKS)}"
            raise BankError(message)
        return kind.joined([self._decrypted(kind, key, keys, digests) for key in self.rows])

    def _decrypted(self, kind: type[B], key: RowKey, keys: Mapping[RowKey, bytes], digests: Mapping[RowKey, str]) -> B:
        """Return the bank of one row that was encrypted under `keys[key]`."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        data, source = self.rows[key], f"the sealed row {key}"
        if key not in keys:
            message = f"row {key} is sealed and this device has no key for it: pfedge adopt --keys FILE"
            raise SealError(message)
        plain = ZeroizedBytes(max(0, len(data) - NONCE - TAG))
        try:
            context = _context(key, digests.get(key, ""))
            AESGCM(keys[key]).decrypt_into(data[:NONCE], data[NONCE:], context, plain)
        except (InvalidTag, ValueError, OverflowError) as error:  # the last where it is larger than 2 GiB
            message = f"row {key} does not open with this device's key: it is another's, or the row was changed"
            raise SealError(message) from error
        one = kind.from_bytes(plain, source=source)
        if one.row_keys != (key,):
            message = f"{source} holds another row"
            raise SealError(message)
        return one

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
        return cls(rows, about["of"])

    @classmethod
    def load(cls, path: Path) -> SealedBank:
        """Read a bank file.

        Raises:
            BankError: the file is missing, cannot be read, or is not a whole bank.
        """
        return cls.from_bytes(read_zeroized(path), source=str(path))


def seal(bank: Bank) -> tuple[SealedBank, dict[RowKey, bytes]]:
    """Encrypt each row under a new key, and return both."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    rows: dict[RowKey, bytes] = {}
    keys: dict[RowKey, bytes] = {}
    for key, digest in bank.row_digests().items():
        plain = bytes(bank.keep([key]).to_bytes())
        nonce, keys[key] = os.urandom(NONCE), AESGCM.generate_key(8 * KEY_BYTES)
        rows[key] = nonce + AESGCM(keys[key]).encrypt(nonce, plain, _context(key, digest))
    return SealedBank(rows, bank.FORMAT), keys


def _context(key: RowKey, digest: str) -> bytes:
    return canonical_json({"format": SEALED_FORMAT, "row": str(key), "digest": digest})
