"""Where rows lie in a bank's file: as records of equal size, one a row, that are written and read in one go.

>>> records = Records(class_ids=(0, 3), features=2, tokens=1, width=4)
>>> data = records.write({name: np.ones((2, *shape), np.float32) for name, shape in records.shapes.items()})
>>> Records.of(data) == records
True
>>> {name: part.shape for name, part in records.read(data).items()}
{'head_bias': (2,), 'head_weight': (2, 2), 'prompts': (2, 1, 4), 'threshold': (2,)}

The encoding is the safetensors library's, byte for byte. A general reader takes several times as long for a thousand
rows; it is what reads any file that does not begin exactly as these do.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime._compat import cached_property
from pfedge_runtime.bank.codec import METADATA, ZeroizedBytes, zeroized_empty

PROMPT_FORMAT = "pfedge-bank/1"
PARTS = ("head_bias", "head_weight", "prompts", "threshold")
# Two searches find what a header of our own must say. They need not be safe: `Records.of` then writes the header that
# follows from what they found, and takes the file for one of ours only where every byte of its header is the same.
ROW_ID = re.compile(rb'"rows\.([0-9]{1,15})\.threshold"')
ROW_SHAPES = re.compile(
    rb'\.head_weight":\{"dtype":"F32","shape":\[([0-9]{1,9})\],"data_offsets":\[[0-9]+,[0-9]+\]\},'
    rb'"rows\.[0-9]{1,15}\.prompts":\{"dtype":"F32","shape":\[([0-9]{1,9}),([0-9]{1,9})\]'
)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Records:
    """The layout of a bank of R rows.

    Attributes:
        class_ids: increasing.
        features: F.
        tokens: T.
        width: D.
    """

    class_ids: tuple[int, ...]
    features: int
    tokens: int
    width: int

    @classmethod
    def of(cls, data: bytes | bytearray) -> Records | None:
        """Return the layout of an encoding that begins, byte for byte, as `write` would begin; None of any other."""
        # parsing the JSON of a thousand rows takes 30 ms, writing it again and comparing the bytes 2
        size = int.from_bytes(data[:8], "little")
        text = bytes(memoryview(data)[8 : 8 + size]) if size < len(data) else b""
        shapes, ids = ROW_SHAPES.search(text), tuple(sorted(map(int, ROW_ID.findall(text))))
        if shapes is None or len(set(ids)) != len(ids):
            return None
        records = cls(ids, *map(int, shapes.groups()))
        return records if records.size == len(data) and data[: len(records.header)] == records.header else None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each part of a row, in the order in which they lie."""
        return dict(zip(PARTS, ((), (self.features,), (self.tokens, self.width), ()), strict=True))

    @cached_property
    def order(self) -> list[int]:
        """Positions in `class_ids` in the order in which the rows lie: that of their names, 10 before 2."""
        return sorted(range(len(self.class_ids)), key=lambda position: f"{self.class_ids[position]}.")

    @cached_property
    def header(self) -> bytes:
        """All that stands before the first record."""
        entries, end = [f'{METADATA}{{"format":"{PROMPT_FORMAT}"}}'], 0
        parts = [(name, ",".join(map(str, shape)), 4 * math.prod(shape)) for name, shape in self.shapes.items()]
        for position in self.order:
            for name, shape, size in parts:
                start, end = end, end + size
                entries.append(
                    f'"rows.{self.class_ids[position]}.{name}":'
                    f'{{"dtype":"F32","shape":[{shape}],"data_offsets":[{start},{end}]}}'
                )
        text = (",".join(entries) + "}").encode()
        text += b" " * (-len(text) % 8)  # as the library pads it, so that the records begin at a multiple of 8
        return struct.pack("<Q", len(text)) + text

    @property
    def size(self) -> int:
        """How many bytes the whole has."""
        return len(self.header) + 4 * len(self.class_ids) * sum(map(math.prod, self.shapes.values()))

    def write(self, parts: dict[str, Floats]) -> ZeroizedBytes:
        """Return the encoding of the parts `[R, ...]` of the rows, in class-id order."""
        data = ZeroizedBytes(self.size)
        data[: len(self.header)] = self.header
        place = np.argsort(self.order)  # the inverse of the permutation: where each row of `parts` lies
        for name, columns in self._columns(data).items():
            columns[place] = parts[name].reshape(columns.shape)
        return data

    def read(self, data: bytes | bytearray) -> dict[str, Floats]:
        """Return the parts `[R, ...]` of the rows, in class-id order: copies in zeroized memory."""
        parts = {}
        for name, columns in self._columns(data).items():
            rows = zeroized_empty(columns.shape, np.float32)
            rows[self.order] = columns
            parts[name] = rows.reshape(len(rows), *self.shapes[name])
        return parts

    def _columns(self, data: bytes | bytearray) -> dict[str, Floats]:
        """Return what of each record belongs to each part, `[R, numbers]`, looking into `data`."""
        records = np.frombuffer(data, "<f4", offset=len(self.header)).reshape(len(self.class_ids), -1)
        ends = np.cumsum([math.prod(shape) for shape in self.shapes.values()])[:-1]
        return dict(zip(PARTS, np.split(records, ends, axis=1), strict=True))
