"""Lookup tables of DICOM: modality, VOI and palette, plain or segmented (PS3.3 C.11.1.1, C.11.2.1.1, C.7.9).

    table = lookup_table(dataset.VOILUTSequence[0], signed=True, order="<")
    table(values)          # 0 to 2 ** table.bits - 1

A table that contradicts its own descriptor is refused: nothing says which of the two is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.errors import InputError

WORD = 2**16
SMALLEST_BITS, LARGEST_BITS = 8, 16
DISCRETE, LINEAR, INDIRECT = range(3)  # a segment's opcode (PS3.3 C.7.9.2)


@dataclass(frozen=True)
class LookupTable:
    """What stands for each value.

    Attributes:
        first: the value that the first entry stands for. Smaller values take the first entry, larger ones the last.
        entries: int64 `[n]`, 0 to `2 ** bits - 1`.
        bits: the range of the entries, whether or not it is used.
    """

    first: int
    entries: NDArray[np.int64]
    bits: int

    def __call__(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Look up whole values of any shape."""
        return self.entries[np.clip(values - self.first, 0, len(self.entries) - 1)]


def lookup_table(item: Any, *, signed: bool, order: str) -> LookupTable:  # noqa: ANN401 -- pydicom is an extra
    """Return the table of an item of a Modality or VOI LUT Sequence.

    Args:
        item: the item.
        signed: whether the values that are looked up may be negative; it decides how the descriptor is read.
        order: byte order of the file, `<` or `>`.

    Raises:
        InputError: descriptor or data are missing, or contradict each other.
    """
    count, first, bits = _descriptor(item, "LUTDescriptor", signed=signed)
    entries = _entries(item, "LUTData", count, bits, order)
    return LookupTable(first, _checked(entries, "LUTData", count, bits), bits)


def palette(dataset: Any, *, signed: bool, order: str) -> tuple[LookupTable, LookupTable, LookupTable]:  # noqa: ANN401 -- as above
    """Return the tables for red, green and blue; see `lookup_table`.

    Raises:
        InputError: one is missing, or contradicts its descriptor.
    """
    colours = ("Red", "Green", "Blue")
    red, green, blue = (_palette_table(dataset, colour, signed=signed, order=order) for colour in colours)
    if not red.bits == green.bits == blue.bits:
        message = f"its palettes have {red.bits}, {green.bits} and {blue.bits} bits"
        raise InputError(message)
    return red, green, blue


def _palette_table(dataset: Any, colour: str, *, signed: bool, order: str) -> LookupTable:  # noqa: ANN401 -- as above
    count, first, bits = _descriptor(dataset, f"{colour}PaletteColorLookupTableDescriptor", signed=signed)
    plain, segmented = f"{colour}PaletteColorLookupTableData", f"Segmented{colour}PaletteColorLookupTableData"
    if dataset.get(plain) is not None:
        return LookupTable(first, _checked(_entries(dataset, plain, count, bits, order), plain, count, bits), bits)
    if dataset.get(segmented) is None:
        message = f"it has neither {plain} nor {segmented}"
        raise InputError(message)
    code = _words(dataset[segmented].value, order) if bits > SMALLEST_BITS else _bytes(dataset[segmented].value, order)
    expanded = np.array(expand_segments(code.tolist(), bits, segmented)[:count], dtype=np.int64)
    return LookupTable(first, _checked(expanded, segmented, count, bits), bits)


def expand_segments(code: list[int], bits: int, name: str) -> list[int]:
    """Return the entries that a segmented table stands for (PS3.3 C.7.9.2).

    Args:
        code: the bytes of a table of 8 bits, the words of one of 16.
        bits: 8 or 16; decides how long an offset is.
        name: what an error calls the table.

    Raises:
        InputError: an opcode is unknown, or a segment leads out of the table.

    >>> expand_segments([0, 2, 10, 20, 1, 4, 40], 16, "a table")
    [10, 20, 25, 30, 35, 40]
    """
    entries: list[int] = []
    at, width = 0, 4 if bits == SMALLEST_BITS else 2  # an offset is 32 bits wide, lower half first
    try:
        while at + 1 < len(code):  # a single byte at the end is padding
            if code[at] != INDIRECT:
                at = _expand(code, at, entries)
                continue
            segments, parts = code[at + 1], code[at + 2 : at + 2 + width]
            unit = 1 if bits == SMALLEST_BITS else 2  # offsets count bytes
            there = sum(part << (8 * unit * i) for i, part in enumerate(parts)) // unit
            for _ in range(segments):
                there = _expand(code, there, entries)
            at += 2 + width
    except (IndexError, ValueError) as error:
        message = f"{name} is no segmented table: {error}"
        raise InputError(message) from error
    return entries


def _expand(code: list[int], at: int, entries: list[int]) -> int:
    """Append the entries of the discrete or linear segment at `at`; return where the next begins."""
    opcode, length = code[at], code[at + 1]
    if opcode == DISCRETE:
        end = at + 2 + length
        if end > len(code):
            message = "a segment is longer than the table"
            raise ValueError(message)
        entries += code[at + 2 : end]
        return end
    if opcode != LINEAR:
        message = f"opcode {opcode}"
        raise ValueError(message)
    start, stop = entries[-1], code[at + 2]  # a line begins where the last segment ended
    entries += [round(start + (stop - start) * step / length) for step in range(1, length + 1)]
    return at + 3


def _descriptor(item: Any, name: str, *, signed: bool) -> tuple[int, int, int]:  # noqa: ANN401 -- as above
    """Return entries, first value and bits of a descriptor.

    All three are of one type, US or SS, in the file. So 0 and -1 stand for 65,536 and 65,535 entries, and a first
    value may have been written with the other sign.
    """
    value = item.get(name)
    try:
        count, first, bits = (int(number) for number in value)
    except (TypeError, ValueError) as error:
        message = f"its {name} must be three numbers, and is {value!r}"
        raise InputError(message) from error
    if not SMALLEST_BITS <= bits <= LARGEST_BITS:
        message = f"its {name} says {bits} bits an entry, not {SMALLEST_BITS} to {LARGEST_BITS}"
        raise InputError(message)
    return count % WORD or WORD, reinterpret(first, signed=signed), bits


def reinterpret(value: int, *, signed: bool) -> int:
    """Read a 16-bit number as signed or unsigned, whichever way it was written.

    >>> reinterpret(65535, signed=True), reinterpret(-1, signed=False)
    (-1, 65535)
    """
    if signed:
        return value - WORD if value >= WORD // 2 else value
    return value % WORD


def _entries(item: Any, name: str, count: int, bits: int, order: str) -> NDArray[np.int64]:  # noqa: ANN401 -- as above
    """Return the entries of a plain table: one a word, or where they have 8 bits perhaps two a word."""
    value = item.get(name)
    if value is None:
        message = f"it has no {name}"
        raise InputError(message)
    words = _words(value, order)
    packed = bits == SMALLEST_BITS and len(words) == (count + 1) // 2 and count > 1
    return _bytes(value, order)[:count] if packed else words


def _words(value: Any, order: str) -> NDArray[np.int64]:  # noqa: ANN401 -- bytes, or numbers that pydicom has read
    if isinstance(value, bytes):
        return np.frombuffer(value + b"\0" * (len(value) % 2), dtype=f"{order}u2").astype(np.int64)
    return np.atleast_1d(np.array(value, dtype=np.int64))


def _bytes(value: Any, order: str) -> NDArray[np.int64]:  # noqa: ANN401 -- as above
    """Return two entries a word: the first is its lower byte (PS3.3 C.7.6.3.1.6)."""
    words = _words(value, order)
    return np.stack([words & 0xFF, words >> 8], axis=1).reshape(-1)


def _checked(entries: NDArray[np.int64], name: str, count: int, bits: int) -> NDArray[np.int64]:
    if len(entries) != count:
        message = f"its {name} has {len(entries)} entries where its descriptor says {count}"
        raise InputError(message)
    if entries.max() >= 2**bits:
        message = f"its {name} has the entry {entries.max()} where its descriptor says {bits} bits"
        raise InputError(message)
    return entries
