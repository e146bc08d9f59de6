"""The prompt bank: everything a model learned of each class, one removable row per class.

>>> rows, tokens, width = 3, 1, 4
>>> bank = PromptBank(
...     class_ids=(0, 3, 7),
...     prompts=np.zeros((rows, tokens, width), np.float32),
...     head_weight=np.zeros((rows, width), np.float32),
...     head_bias=np.zeros(rows, np.float32),
...     threshold=np.full(rows, -np.inf, np.float32),
... )
>>> bank.drop({3}).class_ids, bank.class_ids  # a new bank; `bank` is unchanged
((0, 7), (0, 3, 7))
>>> PromptBank.from_bytes(bank.to_bytes()).digest() == bank.digest()
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime._compat import cached_property
from pfedge_runtime.bank.codec import (
    Buffer,
    ZeroizedBytes,
    decode,
    flat_bytes,
    read_zeroized,
    zeroized_copy,
    zeroized_empty,
)
from pfedge_runtime.bank.records import PARTS, PROMPT_FORMAT, Records
from pfedge_runtime.bank.rows import CLASS_ID, NotPickled, RowKey
from pfedge_runtime.errors import AlreadyForgottenError, BankError, LastRowError

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PromptBank(NotPickled):
    """The R rows that a model still has, in class-id order. Immutable.

    Attributes:
        class_ids: the R class ids, strictly increasing.
        prompts: float32 `[R, T, D]`, the prompt tokens.
        head_weight: float32 `[R, F]`, the head vectors.
        head_bias: float32 `[R]`.
        threshold: float32 `[R]`, the score (logit) from which a row accepts an input; `-inf` accepts all.
    """

    FORMAT: ClassVar[str] = PROMPT_FORMAT

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

    @cached_property
    def row_keys(self) -> tuple[RowKey, ...]:
        """Which rows there are, increasing."""
        return tuple(map(RowKey, self.class_ids))

    @property
    def sources(self) -> tuple[str, ...]:
        """None: each row is of a whole class."""
        return ()

    def keep(self, keys: Iterable[RowKey]) -> PromptBank:
        """Return the bank that has only these of its rows.

        Raises:
            LastRowError: none is left.
        """
        return self.select(key.class_id for key in keys)

    def without(self, keys: Iterable[RowKey]) -> PromptBank:
        """Return the bank that has all of its rows but these; keys of rows that are not there change nothing.

        Raises:
            LastRowError: none is left.
        """
        unwanted = set(keys)
        return self.keep(key for key in self.row_keys if key not in unwanted)

    def select(self, class_ids: Iterable[int]) -> PromptBank:
        """Return the bank that has only these rows, still in class-id order.

        Raises:
            AlreadyForgottenError: one of them is not in this bank.
            LastRowError: none is asked for.
        """
        wanted = set(class_ids)
        require_known(wanted, self.class_ids)
        if not wanted:
            raise LastRowError
        index = [position for position, class_id in enumerate(self.class_ids) if class_id in wanted]
        smaller = object.__new__(PromptBank)  # rows of a bank that was checked need no checking
        object.__setattr__(smaller, "class_ids", tuple(self.class_ids[position] for position in index))
        for part in PARTS:
            rows = zeroized_copy(getattr(self, part), index)
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

    @classmethod
    def joined(cls, banks: Sequence[PromptBank]) -> PromptBank:
        """Return the bank that has the rows of all.

        Raises:
            BankError: a class has a row in two of them, or their rows differ in shape.
        """
        found = sorted((c, number, at) for number, bank in enumerate(banks) for at, c in enumerate(bank.class_ids))
        parts = {}
        for part in PARTS:
            shapes = {getattr(bank, part).shape[1:] for bank in banks}
            if len(shapes) != 1:
                message = f"rows whose {part} differ in shape do not fit into one bank"
                raise BankError(message)
            parts[part] = zeroized_empty((len(found), *shapes.pop()), np.float32)
            for position, (_, number, at) in enumerate(found):
                parts[part][position] = getattr(banks[number], part)[at]
        return cls(tuple(class_id for class_id, _, _ in found), **parts)

    def unsealed(self, keys: Mapping[RowKey, bytes], digests: Mapping[RowKey, str]) -> PromptBank:
        """Return the bank itself: it is not sealed."""
        del keys, digests
        return self

    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the fixed dimensions of what the graph takes: `[T, D]`, `[F]` and `[]`."""
        return {name: value.shape[1:] for name, value in self.graph_inputs().items()}

    def graph_inputs(self) -> dict[str, Floats]:
        """Return what the graph takes: prompts `[R, T, D]`, head_weight `[R, F]` and head_bias `[R]`."""
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

    def row_bytes(self, key: RowKey) -> list[Buffer]:
        """Return the bytes of a row's prompts and head vector."""
        row = self.row(key.class_id)
        return [flat_bytes(row["prompts"]), flat_bytes(row["head_weight"])]

    def vectors(self) -> Iterator[tuple[RowKey, NDArray[Any]]]:
        """Yield each row's prompt tokens `[D]` and head vector `[F]`."""
        for key in self.row_keys:
            row = self.row(key.class_id)
            yield from ((key, vector) for vector in (*row["prompts"], row["head_weight"]))

    def row_digest(self, class_id: int) -> str:
        """Return the SHA-256 that identifies one row's content, whatever bank it stands in."""
        return self._row_digests[class_id]

    @cached_property
    def _row_digests(self) -> dict[int, str]:
        """The digest of each row by class id; banks made of this one take theirs from here."""
        arrays = {part: getattr(self, part) for part in PARTS}
        parts = [(f"|{part}:{array.shape[1:]}|".encode(), *_by_row(array)) for part, array in arrays.items()]
        digests = {}
        for position, class_id in enumerate(self.class_ids):
            digest = hashlib.sha256(b"pfedge-row/1")
            for label, content, size in parts:
                digest.update(label)
                digest.update(content[position * size : (position + 1) * size])
            digests[class_id] = digest.hexdigest()
        return digests

    def row_digests(self) -> dict[RowKey, str]:
        """Return the digest of each row."""
        return {key: self.row_digest(key.class_id) for key in self.row_keys}

    def digest(self) -> str:
        """Return the SHA-256 of the bank: its class ids and the digests of their rows."""
        rows = "".join(f"|{class_id}:{self.row_digest(class_id)}" for class_id in self.class_ids)
        return hashlib.sha256(f"pfedge-bank/1{rows}".encode()).hexdigest()

    def to_bytes(self) -> ZeroizedBytes:
        """Return the safetensors encoding, with tensors `rows.<class id>.<part>`, as `codec.encode` would give it.

        A thousand rows are written in one go: the general encoder takes several times as long.
        """
        _, tokens, width = self.prompts.shape
        records = Records(self.class_ids, self.head_weight.shape[1], tokens, width)
        return records.write({part: getattr(self, part) for part in PARTS})

    @classmethod
    def from_bytes(cls, data: bytes | bytearray, *, source: str = "bank") -> PromptBank:
        """Read a bank back; `source` names it in errors.

        Raises:
            BankError: the bytes are not a whole bank of this format.
        """
        records = Records.of(data)
        if records is not None:
            return _checked(records.class_ids, records.read(data), source)
        arrays, form = decode(data, source)
        if form != PROMPT_FORMAT:
            message = f"{source} is not a bank of format {PROMPT_FORMAT}: its format is {form}"
            raise BankError(message)
        return _assemble(arrays, source)

    @classmethod
    def load(cls, path: Path) -> PromptBank:
        """Read a bank file.

        Raises:
            BankError: the file is missing, cannot be read, or is not a whole bank.
        """
        return cls.from_bytes(read_zeroized(path), source=str(path))


def require_known(class_ids: set[int], known: Iterable[int]) -> None:
    """Check that a bank has rows for classes.

    Raises:
        AlreadyForgottenError: it has none for one of them.
    """
    missing = class_ids - set(known)
    if missing:
        message = f"the bank has no row for class {sorted(missing)}; it has {sorted(known)}"
        raise AlreadyForgottenError(message)


def _by_row(array: Floats) -> tuple[memoryview, int]:
    """Return the little-endian bytes of `[R, ...]`, and how many each row has."""
    return flat_bytes(array), array.nbytes // len(array)


def _assemble(arrays: dict[str, NDArray[Any]], source: str) -> PromptBank:
    rows: dict[int, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        prefix, _, rest = name.partition(".")
        class_id, _, part = rest.partition(".")
        if prefix != "rows" or not CLASS_ID.fullmatch(class_id) or part not in PARTS:
            message = f"{source} holds a tensor {name!r} that is no part of a row"
            raise BankError(message)
        rows.setdefault(int(class_id), {})[part] = array
    class_ids = tuple(sorted(rows))
    incomplete = [class_id for class_id in class_ids if len(rows[class_id]) != len(PARTS)]
    if incomplete or not rows:
        message = f"{source} has incomplete rows {incomplete}" if rows else f"{source} has no rows"
        raise BankError(message)
    stacked = {}
    for part in PARTS:
        parts = [rows[class_id][part] for class_id in class_ids]
        kinds = {(array.dtype.str, *array.shape) for array in parts}
        if len(kinds) != 1 or parts[0].dtype != np.float32:
            message = f"{source} has rows whose {part} differ in shape or dtype: {sorted(map(str, kinds))}"
            raise BankError(message)
        stacked[part] = np.stack(parts, out=zeroized_empty((len(parts), *parts[0].shape), np.float32))
    return _checked(class_ids, stacked, source)


def _checked(class_ids: tuple[int, ...], parts: dict[str, Floats], source: str) -> PromptBank:
    try:
        return PromptBank(class_ids=class_ids, **parts)
    except BankError as error:
        message = f"{source} is damaged: {error}"
        raise BankError(message) from error
