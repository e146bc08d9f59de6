"""What a bank is, whatever its rows are made of.

`StoredBank` is what every bank file holds: rows that have keys and bytes, some of which can be left out. `Bank` is one
whose rows can be read: it says what the graph takes, and which inputs its rows accept. A sealed bank is a `StoredBank`
and becomes a `Bank` once its rows are decrypted.

Banks are immutable: what leaves rows out gives a new bank. What is bound to an engine, what is named in a result and
what is counted in an epoch is therefore one and the same snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.bank.codec import Buffer, ZeroizedBytes
from pfedge_runtime.bank.rows import RowKey


class StoredBank(Protocol):
    """Rows as a bank file holds them, sealed or not.

    Attributes:
        FORMAT: what the file calls its format.
    """

    FORMAT: ClassVar[str]

    @property
    def row_keys(self) -> tuple[RowKey, ...]:
        """Which rows there are, increasing."""

    @property
    def class_ids(self) -> tuple[int, ...]:
        """The classes that have at least one row, increasing."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that have at least one row, increasing; none where rows are of whole classes."""

    def __len__(self) -> int:
        """Return how many classes have a row."""

    def keep(self, keys: Iterable[RowKey]) -> Self:
        """Return the bank that has only these of its rows.

        Raises:
            LastRowError: none is left.
        """

    def without(self, keys: Iterable[RowKey]) -> Self:
        """Return the bank that has all of its rows but these; keys of rows that are not there change nothing.

        Raises:
            LastRowError: none is left.
        """

    def row_digests(self) -> Mapping[RowKey, str]:
        """Return the SHA-256 of each row's content, of those rows that can be read: of a sealed bank, none."""

    def row_bytes(self, key: RowKey) -> list[Buffer]:
        """Return the bytes of what was learned in a row, part by part, as a bank's file has them."""

    def digest(self) -> str:
        """Return the SHA-256 that identifies the bank."""

    def to_bytes(self) -> ZeroizedBytes:
        """Return the bank's file: equal banks give equal bytes."""

    def unsealed(self, keys: Mapping[RowKey, bytes], digests: Mapping[RowKey, str]) -> Bank:
        """Return the bank with its rows decrypted, or itself where they never were encrypted.

        Args:
            keys: of each row.
            digests: of each row's content, from the manifest.

        Raises:
            SealError: a key is missing, another's, or a row was tampered with.
            BankError: what was inside is no row.
        """

    @classmethod
    def from_bytes(cls, data: bytes | bytearray, *, source: str) -> Self:
        """Read a bank's file back; `source` names it in errors.

        Raises:
            BankError: the bytes are not a whole bank of this format.
        """


class Bank(StoredBank, Protocol):
    """Rows that can be read: what a model still knows."""

    def select(self, class_ids: Iterable[int]) -> Self:
        """Return the bank that has only the rows of these classes.

        Raises:
            AlreadyForgottenError: one of them has no row.
            LastRowError: none is asked for.
        """

    def drop(self, class_ids: Iterable[int]) -> Self:
        """Return the bank without the rows of these classes.

        Raises:
            AlreadyForgottenError: one of them has no row.
            LastRowError: no row would be left.
        """

    @classmethod
    def joined(cls, banks: Sequence[Self]) -> Self:
        """Return the bank that has the rows of all.

        Raises:
            BankError: their rows do not fit into one bank.
        """

    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the fixed dimensions of what the graph takes: those of one row, by the input's name."""

    def graph_inputs(self) -> dict[str, NDArray[np.float32]]:
        """Return what the graph takes beside the input: float32 `[R, ...]` by name, in the graph's order."""

    def accepts(
        self, winner: NDArray[np.int64], logits: NDArray[np.float32], embedding: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return score and threshold `[B]` of each input's winning class; it is accepted where the score reaches it.

        Args:
            winner: int64 `[B]`, positions in `class_ids`.
            logits: float32 `[B, R]`.
            embedding: float32 `[B, E]`, where the graph gives one.
        """

    def vectors(self) -> Iterator[tuple[RowKey, NDArray[Any]]]:
        """Yield what was learned of each row, vector by vector, and what follows from it: no graph may hold them."""
