"""Rows that are sums: the bank of guarantee `exact`.

>>> from pfedge_runtime.bank.statistics import quantise, summarise
>>> embeddings = np.random.default_rng(0).normal(size=(3, 50, 4)).astype(np.float32)  # of three classes, E = 4
>>> rows = {RowKey(class_id): summarise(quantise(one, 12)) for class_id, one in enumerate(embeddings)}
>>> bank = StatisticsBank(rows, scale_bits=12, shrinkage=0.1)
>>> bank.head().weight.shape  # solved from the rows that are left
(3, 4)
>>> never_given = StatisticsBank({RowKey(0): rows[RowKey(0)], RowKey(1): rows[RowKey(1)]}, scale_bits=12, shrinkage=0.1)
>>> bank.drop({2}).to_bytes() == never_given.to_bytes()
True
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime._compat import cached_property
from pfedge_runtime.bank.codec import (
    Buffer,
    ZeroizedBytes,
    decode,
    encode,
    flat_bytes,
    read_zeroized,
    zeroized_empty,
)
from pfedge_runtime.bank.discriminant import Moments, Typicality, solve_head
from pfedge_runtime.bank.prompt_bank import require_known
from pfedge_runtime.bank.rows import KeyedRows, RowKey
from pfedge_runtime.bank.statistics import Doubles, RowStatistics
from pfedge_runtime.errors import BankError, LastRowError
from pfedge_runtime.files import canonical_json, parse_json, safe_reason

STATISTICS_FORMAT = "pfedge-statistics/1"
PARTS = ("count", "outer", "sum", "threshold")


@dataclass(frozen=True)
class Head:
    """A linear head in canonical order: float32 weight `[K, E]` and bias `[K]`, one line a class."""

    class_ids: tuple[int, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class StatisticsBank(KeyedRows):
    """The rows that a model of guarantee `exact` still has, in order of class and source. Immutable.

    Attributes:
        rows: key -> row.
        scale_bits: the grid is 2**-scale_bits.
        shrinkage: share of the identity in the pooled covariance, 0 to 1.
    """

    FORMAT: ClassVar[str] = STATISTICS_FORMAT

    rows: dict[RowKey, RowStatistics]
    scale_bits: int
    shrinkage: float
    _width: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Order the rows and check that they fit each other.

        Raises:
            BankError: they do not, or there is none.
        """
        ordered = {key: self.rows[key] for key in sorted(self.rows)}
        widths = {len(row.sum) for row in ordered.values()}
        if len(widths) != 1 or min(widths) == 0:
            message = f"a bank's rows must have one width, got {sorted(widths)}" if widths else "a bank needs a row"
            raise BankError(message)
        width = widths.pop()
        for key, row in ordered.items():
            if row.count < 1 or row.outer.shape != (width * (width + 1) // 2,) or np.isnan(row.threshold):
                message = f"row {key} is damaged: its statistics are not those of at least one input"
                raise BankError(message)
        if not 0 <= self.shrinkage <= 1 or not 0 <= self.scale_bits <= 30:  # noqa: PLR2004 -- of 32 bits
            message = f"a bank cannot have shrinkage {self.shrinkage} and {self.scale_bits} bits"
            raise BankError(message)
        object.__setattr__(self, "rows", ordered)
        object.__setattr__(self, "_width", width)

    @property
    def width(self) -> int:
        """E, the width of the embedding."""
        return self._width

    def select(self, class_ids: Iterable[int]) -> StatisticsBank:
        """Return the bank that has only the rows of these classes.

        Raises:
            AlreadyForgottenError: one of them has no row.
            LastRowError: none is asked for.
        """
        wanted = set(class_ids)
        require_known(wanted, self.class_ids)
        return self.keep(key for key in self.rows if key.class_id in wanted)

    def drop(self, class_ids: Iterable[int]) -> StatisticsBank:
        """Return the bank without the rows of these classes.

        Raises:
            AlreadyForgottenError: one of them has no row.
            LastRowError: no row would be left.
        """
        unwanted = set(class_ids)
        require_known(unwanted, self.class_ids)
        return self.keep(key for key in self.rows if key.class_id not in unwanted)

    def keep(self, keys: Iterable[RowKey]) -> StatisticsBank:
        """Return the bank that has only these of its rows.

        Raises:
            LastRowError: none is left.
        """
        rows = {key: self.rows[key] for key in keys}
        if not rows:
            raise LastRowError
        return StatisticsBank(rows, self.scale_bits, self.shrinkage)

    def without(self, keys: Iterable[RowKey]) -> StatisticsBank:
        """Return the bank that has all of its rows but these; keys of rows that are not there change nothing.

        Raises:
            LastRowError: none is left.
        """
        unwanted = set(keys)
        return self.keep(key for key in self.rows if key not in unwanted)

    @classmethod
    def joined(cls, banks: Sequence[StatisticsBank]) -> StatisticsBank:
        """Return the bank that has the rows of all.

        Raises:
            BankError: their settings differ.
        """
        first = banks[0]
        if any(bank.about() != first.about() for bank in banks):
            message = "sealed rows of different models lie in one bank"
            raise BankError(message)
        rows = {key: row for bank in banks for key, row in bank.rows.items()}
        return cls(rows, first.scale_bits, first.shrinkage)

    def unsealed(self, keys: Mapping[RowKey, bytes], digests: Mapping[RowKey, str]) -> StatisticsBank:
        """Return the bank itself: it is not sealed."""
        del keys, digests
        return self

    def insert(self, rows: dict[RowKey, RowStatistics]) -> StatisticsBank:
        """Return the bank with rows added.

        Raises:
            BankError: a row is there already, or is of another width.
        """
        taken = sorted(str(key) for key in set(rows) & set(self.rows))
        if taken:
            message = f"the bank has rows {', '.join(taken)} already: forget them first, or name another source"
            raise BankError(message)
        return StatisticsBank(self.rows | rows, self.scale_bits, self.shrinkage)

    @cached_property
    def classes(self) -> dict[int, RowStatistics]:
        """The statistics of each class, over all of its sources."""
        merged: dict[int, RowStatistics] = {}
        for key, row in self.rows.items():
            merged[key.class_id] = merged[key.class_id] + row if key.class_id in merged else row
        return merged

    def head(self) -> Head:
        """Solve the head from the rows, in float64 and canonical order.

        Raises:
            BankError: the pooled covariance cannot be inverted.
        """
        return self._head

    @cached_property
    def _head(self) -> Head:
        moments = Moments.of(list(self.classes.values()), self.scale_bits)
        weight, bias = solve_head(moments, self.shrinkage)
        return Head(self.class_ids, weight.astype(np.float32), bias.astype(np.float32))

    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the fixed dimensions of what the graph takes, `[E]` and `[]`; no head need be solved for it."""
        return {"head_weight": (self.width,), "head_bias": ()}

    def graph_inputs(self) -> dict[str, NDArray[np.float32]]:
        """Return what the graph takes: the solved head."""
        head = self.head()
        return {"head_weight": head.weight, "head_bias": head.bias}

    def accepts(
        self, winner: NDArray[np.int64], logits: NDArray[np.float32], embedding: NDArray[np.float32] | None
    ) -> tuple[Doubles, Doubles]:
        """Return score and threshold `[B]` of each input's winning class; it is accepted where the score reaches it.

        Args:
            winner: positions `[B]` in `class_ids`.
            logits: not used: a discriminant says how classes differ, not whether one is there.
            embedding: float32 `[B, E]`.
        """
        del logits
        if embedding is None:
            message = "the graph gives no embedding: it is not one of guarantee exact"
            raise BankError(message)
        rows = list(self.classes.values())
        threshold = np.full(len(winner), -np.inf)
        for position in np.unique(winner):
            threshold[winner == position] = self._typicality.threshold(int(position), rows[position].threshold)
        return self._typicality.score(winner, embedding.astype(np.float64)), threshold

    @cached_property
    def _typicality(self) -> Typicality:
        try:
            return Typicality(Moments.of(list(self.classes.values()), self.scale_bits))
        except np.linalg.LinAlgError as error:
            message = "the statistics of the rows cannot be inverted: they are not those of real inputs"
            raise BankError(message) from error

    def row_bytes(self, key: RowKey) -> list[Buffer]:
        """Return the bytes of a row's sums."""
        row = self.rows[key]
        return [flat_bytes(row.sum), flat_bytes(row.outer)]

    def vectors(self) -> Iterator[tuple[RowKey, NDArray[Any]]]:
        """Yield each class's head vector `[E]`, and each row's sum and mean `[E]`, the mean in both float types."""
        for class_id, weight in zip(self.class_ids, self.head().weight, strict=True):
            yield RowKey(class_id), weight
        for key, row in self.rows.items():
            mean = row.sum / row.count * 2.0**-self.scale_bits
            yield from ((key, vector) for vector in (row.sum, mean, mean.astype(np.float32)))

    def row_digest(self, key: RowKey) -> str:
        """Return the SHA-256 that identifies one row's content, whatever bank it stands in."""
        settings = canonical_json(self.about())
        return hashlib.sha256(settings + self.rows[key].digest.encode()).hexdigest()

    def row_digests(self) -> dict[RowKey, str]:
        """Return the digest of each row; megabytes a row, hashed by a thread a core."""
        with ThreadPoolExecutor() as pool:
            return dict(zip(self.rows, pool.map(self.row_digest, self.rows), strict=True))

    def digest(self) -> str:
        """Return the SHA-256 of the bank: its settings, keys, and the digests of its rows."""
        digest = hashlib.sha256(canonical_json(self.about()))
        for key in self.rows:
            digest.update(f"|{key}:{self.row_digest(key)}".encode())
        return digest.hexdigest()

    def to_bytes(self) -> ZeroizedBytes:
        """Return the safetensors encoding, `rows.<class id>[@<source>].<part>`: equal banks give equal bytes."""
        return encode(self.tensors(), canonical_json(self.about()).decode())

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the rows as named arrays."""
        tensors: dict[str, NDArray[np.generic]] = {}
        for key, row in self.rows.items():
            tensors[f"rows.{key}.count"] = np.array(row.count, dtype=np.int64)
            tensors[f"rows.{key}.sum"] = row.sum
            tensors[f"rows.{key}.outer"] = row.outer
            tensors[f"rows.{key}.threshold"] = np.array(row.threshold, dtype=np.float32)
        return tensors

    def about(self) -> dict[str, Any]:
        """Return the format and the settings that all rows share."""
        return {"format": STATISTICS_FORMAT, "scale_bits": self.scale_bits, "shrinkage": self.shrinkage}

    @classmethod
    def from_bytes(cls, data: bytes | bytearray, *, source: str = "bank") -> StatisticsBank:
        """Read a bank back; `source` names it in errors.

        Raises:
            BankError: the bytes are not a whole bank of this format.
        """
        tensors, form = decode(data, source)
        try:
            about = parse_json(form, source, BankError)
        except BankError as error:
            message = f"{source} is not a bank of format {STATISTICS_FORMAT}: its format is {form}"
            raise BankError(message) from error
        return cls.from_tensors(tensors, about, source=source)

    @classmethod
    def from_tensors(cls, tensors: dict[str, NDArray[Any]], about: Any, *, source: str) -> StatisticsBank:  # noqa: ANN401 -- JSON
        """Put a bank together from what `tensors` and `about` gave.

        Raises:
            BankError: they are not those of a whole bank.
        """
        try:
            if about["format"] != STATISTICS_FORMAT:
                message = f"{source} is not a bank of format {STATISTICS_FORMAT}: its format is {about['format']}"
                raise BankError(message)
            known = set(about) == {"format", "scale_bits", "shrinkage"}
            if not known or type(about["scale_bits"]) is not int or type(about["shrinkage"]) not in (int, float):
                message = f"{source} is damaged or not a bank of statistics: its settings are not those of one"
                raise BankError(message)
            parts: dict[RowKey, dict[str, NDArray[Any]]] = {}
            for name, tensor in tensors.items():
                prefix, _, rest = name.partition(".")
                key, _, part = rest.rpartition(".")
                if prefix != "rows" or part not in PARTS:
                    message = f"{source} holds a tensor {name!r} that is no part of a row"
                    raise BankError(message)
                parts.setdefault(RowKey.parse(key), {})[part] = tensor
            rows = {key: _row(key, found, source) for key, found in parts.items()}
            return cls(rows, about["scale_bits"], float(about["shrinkage"]))
        except (ValueError, TypeError, KeyError) as error:
            message = f"{source} is damaged or not a bank of statistics: {safe_reason(error)}"
            raise BankError(message) from error

    @classmethod
    def load(cls, path: Path) -> StatisticsBank:
        """Read a bank file.

        Raises:
            BankError: the file is missing, cannot be read, or is not a whole bank.
        """
        return cls.from_bytes(read_zeroized(path), source=str(path))


def _row(key: RowKey, parts: dict[str, NDArray[np.generic]], source: str) -> RowStatistics:
    expected = {"count": ("int64", 0), "sum": ("int64", 1), "outer": ("int64", 1), "threshold": ("float32", 0)}
    if {name: (str(part.dtype), part.ndim) for name, part in parts.items()} != expected:
        message = f"{source} has an incomplete or damaged row {key}"
        raise BankError(message)
    return RowStatistics(
        count=int(parts["count"]),
        sum=_own(parts["sum"]),
        outer=_own(parts["outer"]),
        threshold=float(parts["threshold"]),
    )


def _own(array: NDArray[Any]) -> NDArray[np.int64]:
    """Return a copy in zeroized memory of its own, so that the row can vanish while others of its file stay."""
    copy: NDArray[np.int64] = zeroized_empty(array.shape, np.int64)
    copy[...] = array
    return copy
