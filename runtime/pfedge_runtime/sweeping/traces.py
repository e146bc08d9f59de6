"""What a row leaves behind: its digest, and windows of its bytes that are searched for in whatever lies around.

    trace = Trace.of(bundle, [RowKey(3)])              # before the row is dropped
    [mark.row for mark in trace.search(file)]          # whose bytes a file holds

A window is 64 bytes; a copy of 127 bytes in a row of what was learned holds at least one. Windows that say little
(zeros), or that rows which stay have too, are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.bank import Buffer, RowKey, StoredBank, zeroized_copy, zeroized_empty
from pfedge_runtime.bundle import Bundle
from pfedge_runtime.device import RowId
from pfedge_runtime.errors import LastRowError, SealError
from pfedge_runtime.sweeping.archives import Readable

WINDOW = 64
CHUNK = 1 << 20  # bytes read at a time
BLOCK = 4096  # windows compared at a time
VARIETY = 12  # different byte values from which a window tells of a row
WORDS = (0, 3, 7)  # the 8-byte words of a window that its key is made of
FACTORS = tuple(np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93))


@dataclass(frozen=True, order=True)
class Mark:
    """What a window is of.

    Attributes:
        what: `bytes` as they are stored open, `sealed bytes`, `key` of a sealed row, or `digest` in hexadecimal.
        row: position of the row in the trace.
    """

    what: str
    row: int


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows to search for, in order of their keys.

    Attributes:
        keys: uint64 `[N]`, increasing.
        content: uint8 `[N, 64]`, in zeroized memory.
        marks: what each is of.
        sieve: bool `[2**bits]`: whether a key with these highest bits is among them.
    """

    keys: NDArray[np.uint64]
    content: NDArray[np.uint8]
    marks: tuple[Mark, ...]
    sieve: NDArray[np.bool_]

    @classmethod
    def of(cls, parts: Sequence[tuple[Mark, Buffer]]) -> Windows:
        """Cut windows out of the parts of rows: one every 64 bytes, and the last one."""
        places = [(at, start) for at, (_, part) in enumerate(parts) for start in _starts(len(part))]
        content = zeroized_empty((len(places), WINDOW), np.uint8)
        for line, (at, start) in enumerate(places):
            content[line] = np.frombuffer(parts[at][1], np.uint8, WINDOW, start)
        marks = [parts[at][0] for at, _ in places]
        open_text = np.array([mark.what in {"digest", "key"} for mark in marks], dtype=bool)
        return cls._sorted(content, marks, np.flatnonzero(_telling(content) | open_text))

    @classmethod
    def _sorted(cls, content: NDArray[np.uint8], marks: Sequence[Mark], lines: NDArray[np.intp]) -> Windows:
        keys, first = np.unique(_keys(content[lines].view("<u8").T), return_index=True)
        chosen = lines[first]
        bits = max(16, len(keys).bit_length() + 5)
        sieve = np.zeros(1 << bits, dtype=bool)
        sieve[_highest(keys, bits)] = True
        return cls(keys, zeroized_copy(content, chosen.tolist()), tuple(marks[line] for line in chosen), sieve)

    def without(self, lines: Iterable[int]) -> Windows:
        """Return all windows but these."""
        left = np.setdiff1d(np.arange(len(self.keys)), list(lines))
        return self._sorted(self.content, self.marks, left)

    def find(self, data: Buffer) -> set[int]:
        """Return which windows occur in `data`, at whatever offset."""
        found: set[int] = set()
        if len(data) < WINDOW or not len(self.keys):
            return found
        everything, bits = np.frombuffer(data, np.uint8), len(self.sieve).bit_length() - 1
        for shift in range(8):
            words = np.frombuffer(data, "<u8", (len(data) - shift) // 8, shift)
            count = len(words) - 7
            if count < 1:
                break
            keys = _keys([words[start : start + count] for start in range(8)])
            maybe = np.flatnonzero(self.sieve[_highest(keys, bits)])
            lines = np.minimum(np.searchsorted(self.keys, keys[maybe]), len(self.keys) - 1)
            same = self.keys[lines] == keys[maybe]
            starts, lines = shift + 8 * maybe[same], lines[same]
            for first in range(0, len(lines), BLOCK):
                block = lines[first : first + BLOCK]
                there = everything[starts[first : first + BLOCK, None] + np.arange(WINDOW)] == self.content[block]
                found.update(block[there.all(axis=1)].tolist())
        return found


@dataclass(frozen=True, eq=False)
class Trace:
    """What to search for.

    Attributes:
        home: the bundle that the rows were forgotten in.
        rows: the rows.
        windows: of their bytes, as far as these are known, and of their digests.
    """

    home: Path
    rows: tuple[RowId, ...]
    windows: Windows

    @classmethod
    def of(cls, bundle: Bundle, keys: Iterable[RowKey]) -> Trace:
        """Take the trace of rows of a bundle; of those that its bank has no longer, the digest alone.

        Raises:
            BankError: the bundle never had one of them, or its bank is damaged.
        """
        rows = bundle.row_ids(keys)
        stored = bundle.stored_bank()
        there = set(stored.row_keys)
        parts: list[tuple[Mark, Buffer]] = []
        for number, row in enumerate(rows):
            parts.append((Mark("digest", number), row.digest.encode()))
            if row.key in there:
                what = "sealed bytes" if bundle.manifest.sealed else "bytes"
                parts += [(Mark(what, number), part) for part in stored.row_bytes(row.key)]
                parts += _unsealed(bundle, stored, row, number)
        windows = Windows.of(parts)
        try:
            staying = stored.without(row.key for row in rows)
        except LastRowError:  # nothing stays
            return cls(bundle.path, rows, windows)
        return cls(bundle.path, rows, windows.without(windows.find(staying.to_bytes())))

    @property
    def digests(self) -> dict[str, RowId]:
        """Each row by its digest."""
        return {row.digest: row for row in self.rows}

    @property
    def unknown(self) -> tuple[RowId, ...]:
        """The rows whose bytes are not known: they were dropped before."""
        known = {mark.row for mark in self.windows.marks if mark.what != "digest"}
        return tuple(row for number, row in enumerate(self.rows) if number not in known)

    def search(self, source: Readable) -> set[Mark]:
        """Read a source to its end, or until nothing more can be found, and return what is in it."""
        every, found, tail = set(self.windows.marks), set[Mark](), b""
        while found != every and (data := source.read(CHUNK)):
            buffer = tail + data
            found |= {self.windows.marks[line] for line in self.windows.find(buffer)}
            tail = buffer[-(WINDOW - 1) :]
        return found

    def rows_in(self, bank: StoredBank, digests: Mapping[RowKey, str] | None = None) -> dict[RowKey, RowId]:
        """Return which rows of a bank are among these: by their digest, or all of their bytes.

        Args:
            bank: any.
            digests: of its rows, where they are known from elsewhere: a sealed bank does not tell.
        """
        if digests is None:
            digests = bank.row_digests()
        known, found = self.digests, {}
        for key in bank.row_keys:
            row = known.get(digests.get(key, "")) or self._same_bytes(bank.row_bytes(key))
            if row is not None:
                found[key] = row
        return found

    def _same_bytes(self, parts: Sequence[Buffer]) -> RowId | None:
        """Return the row whose every window is in these parts, as they are where only a threshold differs."""
        lines = {line for part in parts for line in self.windows.find(part)}
        for mark in sorted({self.windows.marks[line] for line in lines if self.windows.marks[line].what != "digest"}):
            if all(line in lines for line, other in enumerate(self.windows.marks) if other == mark):
                return self.rows[mark.row]
        return None


def _unsealed(bundle: Bundle, stored: StoredBank, row: RowId, number: int) -> list[tuple[Mark, Buffer]]:
    """Return what a sealed row holds, and its key as key files have it, if this device has the key."""
    if not bundle.manifest.sealed:
        return []
    keys = bundle.state.read_row_keys(bundle.manifest.model_id, [row.key])
    try:
        opened = stored.keep([row.key]).unsealed(keys, {row.key: row.digest})
    except SealError:
        return []
    parts: list[tuple[Mark, Buffer]] = [(Mark("bytes", number), part) for part in opened.row_bytes(row.key)]
    return [*parts, (Mark("key", number), keys[row.key].hex().encode())]


def _starts(size: int) -> list[int]:
    """Return where the windows of a part of that size begin."""
    return sorted({*range(0, size - WINDOW + 1, WINDOW), size - WINDOW}) if size >= WINDOW else []


def _telling(content: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which windows are too particular to occur by chance."""
    ordered = zeroized_copy(content, range(len(content)))
    ordered.sort(axis=1)
    variety = 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)
    words = content.view("<u8")[:, WORDS]
    result: NDArray[np.bool_] = (variety >= VARIETY) & (words != words[:, :1]).any(axis=1)
    return result


def _keys(words: Sequence[NDArray[np.uint64]] | NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a key for each window, given the eight words of all."""
    first, second, third = (words[at] * factor for at, factor in zip(WORDS, FACTORS, strict=True))
    total: NDArray[np.uint64] = first + second + third
    return total


def _highest(keys: NDArray[np.uint64], bits: int) -> NDArray[np.intp]:
    return (keys >> np.uint64(64 - bits)).astype(np.intp)
