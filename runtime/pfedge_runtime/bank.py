"""The prompt bank: everything a model learned of each class, one removable row per class.

bank = PromptBank.load(Path("bundle/bank.safetensors"))
smaller = bank.drop({3})          # a new bank; `bank` is unchanged
smaller.class_ids                 # (0, 1, 2, 4, 5, 6, 7)
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors import SafetensorError

from pfedge_runtime.errors import AlreadyForgottenError, BankError, LastRowError

FORMAT = "pfedge-bank/1"
PARTS = ("head_bias", "head_weight", "prompts", "threshold")
METADATA = '{"__metadata__":'
DTYPES = {"F32": "<f4", "I64": "<i8"}

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PromptBank:
    """The R rows that a model still has, in class-id order. Immutable.

    Attributes:
        class_ids: the R class ids, strictly increasing.
        prompts: float32 `[R, T, D]`, the prompt tokens.
        head_weight: float32 `[R, F]`, the head vectors.
        head_bias: float32 `[R]`.
        threshold: float32 `[R]`, the score (logit) from which a row accepts an input; `-inf` accepts all.
    """

    class_ids: tuple[int, ...]
    prompts: Floats
    head_weight: Floats
    head_bias: Floats
    threshold: Floats

    def __post_init__(self) -> None:
        """Check shapes, order and values, and make the arrays read-only.

        Raises:
            BankError: the parts do not fit each other, or hold NaN.
        """
        rows = len(self.class_ids)
        if list(self.class_ids) != sorted(set(self.class_ids)) or rows == 0 or self.class_ids[0] < 0:
            message = f"a bank's class ids must be distinct, increasing and not empty, got {self.class_ids}"
            raise BankError(message)
        for name, dimensions in (("prompts", 3), ("head_weight", 2), ("head_bias", 1), ("threshold", 1)):
            array = getattr(self, name)
            if array.ndim != dimensions or len(array) != rows or array.dtype != np.float32:
                message = (
                    f"bank part {name} has shape {array.shape} and dtype {array.dtype}, "
                    f"expected float32 with {dimensions} dimensions and {rows} rows"
                )
                raise BankError(message)
            if np.isnan(array).any() or (name != "threshold" and np.isinf(array).any()):
                message = f"bank part {name} holds values that are not finite"
                raise BankError(message)
            frozen = np.ascontiguousarray(array).view()
            frozen.flags.writeable = False
            object.__setattr__(self, name, frozen)

    def __len__(self) -> int:
        """Return R, the number of rows."""
        return len(self.class_ids)

    def select(self, class_ids: Iterable[int]) -> PromptBank:
        """Return the bank that has only these rows, still in class-id order.

        Raises:
            AlreadyForgottenError: one of them is not in this bank.
            LastRowError: none is asked for.
        """
        wanted = set(class_ids)
        require_known(wanted, self.class_ids)
        if not wanted:
            message = "a bank must keep at least one row; to forget everything, remove the bundle"
            raise LastRowError(message)
        index = [position for position, class_id in enumerate(self.class_ids) if class_id in wanted]
        smaller = object.__new__(PromptBank)  # rows of a bank that was checked need no checking
        object.__setattr__(smaller, "class_ids", tuple(self.class_ids[position] for position in index))
        for part in PARTS:
            rows = getattr(self, part)[index]
            rows.flags.writeable = False
            object.__setattr__(smaller, part, rows)
        if "_row_digests" in vars(self):
            object.__setattr__(smaller, "_row_digests", {c: self._row_digests[c] for c in smaller.class_ids})
        return smaller

    def drop(self, class_ids: Iterable[int]) -> PromptBank:
        """Return the bank without these rows.

        Raises:
            AlreadyForgottenError: one of them is not in this bank.
            LastRowError: no row would be left.
        """
        unwanted = set(class_ids)
        require_known(unwanted, self.class_ids)
        return self.select(set(self.class_ids) - unwanted)

    def graph_inputs(self) -> dict[str, Floats]:
        """Return what the graph takes."""
        return {"prompts": self.prompts, "head_weight": self.head_weight, "head_bias": self.head_bias}

    def accepts(
        self, winner: NDArray[np.int64], logits: Floats, embedding: Floats | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return score and threshold `[B]` of each input's winning row; it is accepted where the score reaches it.

        Args:
            winner: positions `[B]` in the bank.
            logits: float32 `[B, R]`.
            embedding: not used.
        """
        del embedding
        score = np.take_along_axis(logits, winner[:, None], axis=1)[:, 0]
        return score.astype(np.float64), self.threshold[winner].astype(np.float64)

    def row(self, class_id: int) -> dict[str, Floats]:
        """Return one row's parts by name: prompts `[T, D]`, head_weight `[F]`, head_bias `[]`, threshold `[]`."""
        position = self.class_ids.index(class_id)
        return {part: getattr(self, part)[position] for part in PARTS}

    def row_digest(self, class_id: int) -> str:
        """Return the SHA-256 that identifies one row's content, whatever bank it stands in."""
        return self._row_digests[class_id]

    @cached_property
    def _row_digests(self) -> dict[int, str]:
        """The digest of each row by class id; banks made of this one take theirs from here."""
        parts = [
            (f"|{part}:{getattr(self, part).shape[1:]}|".encode(), _bytes_by_row(getattr(self, part))) for part in PARTS
        ]
        digests = {}
        for position, class_id in enumerate(self.class_ids):
            content = b"".join(label + rows[position] for label, rows in parts)
            digests[class_id] = hashlib.sha256(b"pfedge-row/1" + content).hexdigest()
        return digests

    def row_digests(self) -> dict[tuple[int, str], str]:
        """Return the digest of each row, by class id and source; no row of this kind is of a source."""
        return {(class_id, ""): self.row_digest(class_id) for class_id in self.class_ids}

    def digest(self) -> str:
        """Return the SHA-256 of the bank: its class ids and the digests of their rows."""
        rows = "".join(f"|{class_id}:{self.row_digest(class_id)}" for class_id in self.class_ids)
        return hashlib.sha256(f"pfedge-bank/1{rows}".encode()).hexdigest()

    def to_bytes(self) -> bytes:
        """Return the safetensors encoding, with tensors `rows.<class id>.<part>`.

        Byte for byte what the library writes, which takes several times as long over a thousand rows.
        """
        parts = {
            part: (str(list(getattr(self, part).shape[1:])).replace(" ", ""), _bytes_by_row(getattr(self, part)))
            for part in PARTS
        }
        places = sorted((f"rows.{c}.{part}", part, at) for at, c in enumerate(self.class_ids) for part in PARTS)
        entries, chunks, end = [f'{METADATA}{{"format":"{FORMAT}"}}'], [], 0
        for name, part, position in places:
            shape, rows = parts[part]
            chunks.append(rows[position])
            start, end = end, end + len(rows[position])
            entries.append(f'"{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}')
        encoded = (",".join(entries) + "}").encode()
        encoded += b" " * (-len(encoded) % 8)
        return struct.pack("<Q", len(encoded)) + encoded + b"".join(chunks)

    @classmethod
    def from_bytes(cls, data: bytes, *, source: str = "bank") -> PromptBank:
        """Read a bank back; `source` names it in errors.

        Raises:
            BankError: the bytes are not a whole bank of this format.
        """
        tensors, form = read_encoded(data, source)
        if form != FORMAT:
            message = f"{source} is not a bank of format {FORMAT}: its format is {form}"
            raise BankError(message)
        return _assemble(tensors, source)

    @classmethod
    def load(cls, path: Path) -> PromptBank:
        """Read a bank file.

        Raises:
            BankError: the file is missing, cannot be read, or is not a whole bank.
        """
        return cls.from_bytes(read_bank_file(path), source=str(path))


def read_bank_file(path: Path) -> bytes:
    """Return the bytes of a bank file.

    Raises:
        BankError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"cannot read the bank {path}: {error.strerror}"
        raise BankError(message) from error


def read_tensors(data: bytes, source: str) -> tuple[dict[str, NDArray[np.generic]], str]:
    """Return the tensors of a bank's bytes, and its metadata entry `format`; `source` names it in errors.

    Raises:
        BankError: the bytes are not a whole safetensors file with that entry and no other.
    """
    encoded, form = read_encoded(data, source)
    try:
        tensors = {
            name: np.frombuffer(one["data"], dtype=DTYPES[one["dtype"]]).reshape(one["shape"])
            for name, one in encoded.items()
        }
    except (KeyError, ValueError) as error:
        message = f"{source} is damaged or not a bank: {error}"
        raise BankError(message) from error
    return tensors, form


def read_encoded(data: bytes, source: str) -> tuple[dict[str, dict[str, Any]], str]:
    """Return the same with tensors as safetensors gives them: `dtype`, `shape` and `data`.

    Raises:
        BankError: as `read_tensors`.
    """
    try:
        tensors = dict(safetensors.deserialize(data))  # type: ignore[no-untyped-call]  # the library's own lack
        header = data[8 : 8 + struct.unpack("<Q", data[:8])[0]].decode()
        if not header.startswith(METADATA):  # where the library puts it; the rest it has read already
            message = f"{source} is not a bank: it has no metadata"
            raise BankError(message)
        about, _ = json.JSONDecoder().raw_decode(header, len(METADATA))
    except (SafetensorError, KeyError, ValueError, struct.error) as error:
        message = f"{source} is damaged or not a bank: {error}"
        raise BankError(message) from error
    if not isinstance(about, dict) or set(about) != {"format"}:
        message = f"{source} is not a bank: its metadata is {about}"
        raise BankError(message)
    return tensors, about["format"]


def require_known(class_ids: set[int], known: Iterable[int]) -> None:
    """Check that a bank has rows for classes.

    Raises:
        AlreadyForgottenError: it has none for one of them.
    """
    missing = class_ids - set(known)
    if missing:
        message = f"the bank has no row for class {sorted(missing)}; it has {sorted(known)}"
        raise AlreadyForgottenError(message)


def _bytes_by_row(array: Floats) -> list[bytes]:
    """Return the little-endian bytes of each row of `[R, ...]`."""
    data = np.ascontiguousarray(array, dtype="<f4").tobytes()
    size = len(data) // len(array)
    if not size:
        return [b""] * len(array)
    return [data[start : start + size] for start in range(0, len(data), size)]


def _assemble(tensors: dict[str, dict[str, Any]], source: str) -> PromptBank:
    rows: dict[int, dict[str, dict[str, Any]]] = {}
    for name, tensor in tensors.items():
        prefix, _, rest = name.partition(".")
        class_id, _, part = rest.partition(".")
        if prefix != "rows" or not class_id.isdecimal() or str(int(class_id)) != class_id or part not in PARTS:
            message = f"{source} holds a tensor {name!r} that is no part of a row"
            raise BankError(message)
        rows.setdefault(int(class_id), {})[part] = tensor
    class_ids = tuple(sorted(rows))
    incomplete = [class_id for class_id in class_ids if len(rows[class_id]) != len(PARTS)]
    if incomplete or not rows:
        message = f"{source} has incomplete rows {incomplete}" if rows else f"{source} has no rows"
        raise BankError(message)
    stacked = {}
    for part in PARTS:
        parts = [rows[class_id][part] for class_id in class_ids]
        kinds = {(one["dtype"], *one["shape"]) for one in parts}
        if len(kinds) != 1 or parts[0]["dtype"] != "F32":
            message = f"{source} has rows whose {part} differ in shape or dtype: {sorted(map(str, kinds))}"
            raise BankError(message)
        data = np.frombuffer(b"".join(one["data"] for one in parts), dtype="<f4")
        stacked[part] = data.reshape(len(parts), *parts[0]["shape"]).astype(np.float32, copy=False)
    try:
        return PromptBank(class_ids=class_ids, **stacked)
    except BankError as error:
        message = f"{source} is damaged: {error}"
        raise BankError(message) from error
