"""Sums that stand for inputs: how many, of what sum, of what sum of outer products; exact, whatever their order.

>>> embedding = np.array([[0.5, 1.0], [0.25, -1.0]], np.float32)  # [n, E]
>>> row = summarise(quantise(embedding, scale_bits=2))
>>> row.count, row.sum.tolist(), row.outer.tolist()  # in quarters, and of products in sixteenths
(2, [3, 0], [5, 4, 32])

Embeddings are put on a fixed grid of integers, and sums of integers do not depend on their order: a row is a function
of its own inputs alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime._compat import cached_property
from pfedge_runtime.errors import BankError

EXACT_FLOAT = 2**53  # integers up to here are exact in float64
LARGEST_SUM = 2**62

Integers = NDArray[np.int64]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RowStatistics:
    """One row: the sufficient statistics of its inputs, and from where it accepts one.

    Attributes:
        count: how many inputs.
        sum: int64 `[E]`, of their embeddings in units of the grid.
        outer: int64 `[E (E + 1) / 2]`, the upper triangle, row by row, of the sum of their outer products.
        threshold: the standard score of typicality (see `Typicality`) from which it accepts; `-inf` accepts all.
    """

    count: int
    sum: Integers
    outer: Integers
    threshold: float = -np.inf

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the row's content. A bank with fewer rows holds the same objects: each is hashed once."""
        digest = hashlib.sha256(f"pfedge-statistics-row/1|{self.count}|".encode())
        digest.update(np.asarray(self.threshold, dtype="<f4").tobytes())
        for sums in (self.sum, self.outer):
            digest.update(np.ascontiguousarray(sums.astype("<i8", copy=False)).data)
        return digest.hexdigest()

    def with_threshold(self, threshold: float) -> RowStatistics:
        """Return the same with another threshold."""
        return RowStatistics(self.count, self.sum, self.outer, float(np.float32(threshold)))

    def __add__(self, other: RowStatistics) -> RowStatistics:
        """Return the statistics of both rows' inputs together; the lower threshold holds.

        Raises:
            BankError: a sum would not fit 64 bits.
        """
        size = len(self.sum)
        _require_headroom(self.outer[diagonal(size)].astype(float) + other.outer[diagonal(size)].astype(float))
        return RowStatistics(
            self.count + other.count,
            self.sum + other.sum,
            self.outer + other.outer,
            min(self.threshold, other.threshold),
        )


def quantise(embedding: NDArray[np.float32], scale_bits: int) -> Integers:
    """Return `round(embedding * 2**scale_bits)` as int64, ties to even.

    Raises:
        BankError: a value is not finite, or too large for the grid.
    """
    if not np.isfinite(embedding).all():
        message = "an embedding has values that are not finite: no statistics can be taken of it"
        raise BankError(message)
    scaled = np.rint(embedding.astype(np.float64) * 2**scale_bits)
    if np.abs(scaled).max(initial=0) >= 2**31:
        message = f"an embedding is too large for a grid of 2**-{scale_bits}"
        raise BankError(message)
    grid: Integers = scaled.astype(np.int64)
    return grid


def summarise(quantised: Integers) -> RowStatistics:
    """Return the statistics of inputs `[n, E]` on the grid: exact, whatever their order or number.

    Products are summed by floating-point matrix multiplication, in pieces so small that every partial sum is an
    integer below 2**53 and therefore exact.

    Raises:
        BankError: a sum would not fit 64 bits.
    """
    count, width = quantised.shape
    largest = int(np.abs(quantised).max(initial=1)) or 1
    _require_headroom(float(largest) ** 2 * max(1, count))
    piece = max(1, EXACT_FLOAT // largest**2)
    outer = np.zeros((width, width), dtype=np.int64)
    for start in range(0, count, piece):
        chunk = quantised[start : start + piece].astype(np.float64)
        outer += (chunk.T @ chunk).astype(np.int64)
    return RowStatistics(count, quantised.sum(axis=0), outer.reshape(-1)[_triangle(width)])


def unpack(packed: Doubles, width: int) -> Doubles:
    """Return the symmetric matrix `[width, width]` of its upper triangle, row by row.

    >>> unpack(np.array([1.0, 2.0, 3.0]), 2)
    array([[1., 2.],
           [2., 3.]])
    """
    matrix, start = np.zeros((width, width)), 0
    for row in range(width):
        end = start + width - row
        matrix[row, row:] = packed[start:end]
        start = end
    symmetric: Doubles = matrix + np.triu(matrix, 1).T
    return symmetric


@lru_cache(maxsize=2)
def _triangle(width: int) -> Integers:
    """Return where the upper triangle stands in a flat matrix, row by row."""
    row, column = np.triu_indices(width)
    return row * width + column


def diagonal(width: int) -> Integers:
    """Return where the diagonal stands in the packed upper triangle.

    >>> diagonal(3)  # of a b c | d e | f
    array([0, 3, 5])
    """
    index = np.arange(width)  # before row i stand rows of E, E - 1, ..., E - i + 1 numbers
    diagonal: Integers = index * width - index * (index - 1) // 2
    return diagonal


def _require_headroom(largest: float | Doubles) -> None:
    if np.max(largest) >= LARGEST_SUM:
        message = "the sums of a row would not fit 64 bits: train with fewer inputs a row or a coarser grid"
        raise BankError(message)
