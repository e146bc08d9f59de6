"""Named arrays in the safetensors format, in memory that is overwritten when it is let go.

>>> data = encode({"rows.3.sum": np.array([1, 2])}, "pfedge-statistics/1")
>>> decode(data, source="bank.safetensors")
({'rows.3.sum': array([1, 2])}, 'pfedge-statistics/1')

The library makes copies that nobody can overwrite; after a forget no byte of a row may be left in the process. What is
written is byte for byte what the library writes, and what is read is what it reads (https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import ctypes
import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pfedge_runtime.errors import BankError
from pfedge_runtime.files import safe_reason

METADATA = '{"__metadata__":'
FORMAT = "format"  # the one entry that a bank's metadata has
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8"), "U8": np.dtype("|u1")}
NAMES = {dtype.str: name for name, dtype in DTYPES.items()}
HEADER_BYTES = 100_000_000  # the library's own bound
DIMENSIONS = 2  # no part of a row has more
FIELDS = 3  # of an entry: dtype, shape, data_offsets

Buffer = bytes | bytearray | memoryview


class ZeroizedBytes(bytearray):
    """Bytes that are overwritten with zeros once nothing refers to them any more, arrays made of them included."""

    _set, _char = ctypes.memset, ctypes.c_char  # of its own: when the process ends, the module's names go first

    def __del__(self) -> None:
        """Overwrite them."""
        if self:
            self._set((self._char * len(self)).from_buffer(self), 0, len(self))


def zeroized_empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array of zeros in zeroized memory."""
    kind = np.dtype(dtype)
    size = math.prod(shape)
    return np.frombuffer(ZeroizedBytes(size * kind.itemsize), dtype=kind, count=size).reshape(shape)


def zeroized_copy(array: NDArray[Any], rows: Sequence[int]) -> NDArray[Any]:
    """Return a copy of some of an array's rows in zeroized memory."""
    copy = zeroized_empty((len(rows), *array.shape[1:]), array.dtype)
    np.take(array, rows, axis=0, out=copy, mode="clip")  # the other modes make a copy in between
    return copy


def read_zeroized(path: Path) -> ZeroizedBytes:
    """Return a file's bytes.

    Raises:
        BankError: it is missing or cannot be read.
    """
    if path.exists() and not path.is_file():
        message = f"{path} is not a file"
        raise BankError(message)
    try:
        with path.open("rb", buffering=0) as file:
            data = ZeroizedBytes(path.stat().st_size)
            size = 0
            while size < len(data) and (count := file.readinto(memoryview(data)[size:])):
                size += count
            if size < len(data) or file.read(1):
                message = f"{path} is damaged: its size changed while it was read"
                raise BankError(message)
            return data
    except OSError as error:
        message = f"cannot read the bank {path}: {error.strerror}"
        raise BankError(message) from error
    except MemoryError as error:
        message = f"cannot read the bank {path}: it is larger than the memory"
        raise BankError(message) from error


def encode(tensors: dict[str, NDArray[Any]], form: str, *, entry: str = FORMAT) -> ZeroizedBytes:
    """Return the encoding of named arrays (float32, int64, uint8), with `form` as the one metadata entry."""
    order = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    entries, end = [f"{METADATA}{{{json.dumps(entry)}:{json.dumps(form, ensure_ascii=False)}}}"], 0
    for name in order:
        array = tensors[name]
        shape = ",".join(map(str, array.shape))
        start, end = end, end + array.nbytes
        dtype = NAMES[array.dtype.newbyteorder("<").str]
        label = json.dumps(name, ensure_ascii=False)
        entries.append(f'{label}:{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{start},{end}]}}')
    header = (",".join(entries) + "}").encode()
    header += b" " * (-len(header) % 8)  # as the library pads it, so that the arrays begin at a multiple of 8
    data = ZeroizedBytes(8 + len(header) + end)
    struct.pack_into("<Q", data, 0, len(header))
    data[8 : 8 + len(header)] = header
    target, at = memoryview(data), 8 + len(header)
    for name in order:
        content = flat_bytes(tensors[name])
        target[at : at + len(content)] = content
        at += len(content)
    return data


def flat_bytes(array: NDArray[Any]) -> memoryview:
    """Return the little-endian bytes of an array; of one that is contiguous they are no copy."""
    flat = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return memoryview(flat.data).cast("B") if flat.size else memoryview(b"")


def decode(data: bytes | bytearray, source: str, *, entry: str = FORMAT) -> tuple[dict[str, NDArray[Any]], str]:
    """Return the arrays of an encoding, which look into `data`, and its one metadata entry.

    Raises:
        BankError: the bytes are not a whole safetensors file with that metadata and no other; `source` names it.
    """
    try:
        header, form, size = _read_header(data, entry)
        arrays, end = {}, 0
        for name, about in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            dtype, shape, (start, stop) = DTYPES[about["dtype"]], about["shape"], about["data_offsets"]
            numbers = (*shape, start, stop)
            if set(map(type, numbers)) != {int} or max(numbers) > len(data):
                raise ValueError(name)
            count = math.prod(shape)
            if (
                len(shape) > DIMENSIONS
                or len(about) != FIELDS
                or start != end
                or stop - start != count * dtype.itemsize
            ):
                raise ValueError(name)
            arrays[name] = np.frombuffer(data, dtype=dtype, count=count, offset=8 + size + start).reshape(shape)
            end = stop
        if 8 + size + end != len(data):
            raise ValueError(end)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, struct.error) as error:
        message = f"{source} is damaged or not a bank: {safe_reason(error)}"
        raise BankError(message) from error
    return arrays, form


def _read_header(data: bytes | bytearray, entry: str) -> tuple[dict[str, Any], str, int]:
    """Return what a header says of each array, its one metadata entry, and how long it is.

    Raises:
        ValueError, TypeError, AttributeError, RecursionError, struct.error: it is not whole, or not as we write it.
    """
    (size,) = struct.unpack_from("<Q", data)
    if size > min(HEADER_BYTES, len(data) - 8):
        message = "its header is longer than the file"
        raise ValueError(message)
    text = bytes(memoryview(data)[8 : 8 + size]).decode()
    header = json.loads(text, object_pairs_hook=_unique, parse_int=_natural)
    about = header.pop("__metadata__", None)
    if not text.startswith("{") or not isinstance(about, dict) or set(about) != {entry}:
        message = f"its metadata is {about}"
        raise ValueError(message)
    form = about[entry]
    if not isinstance(form, str):
        message = f"its format is {form}"
        raise TypeError(message)
    for name in (form, *header):
        name.encode()  # halves of surrogate pairs have no encoding
    return header, form, size


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that stands twice, of which readers could choose different ones."""
    found = dict(pairs)
    if len(found) != len(pairs):
        message = "a name stands twice in its header"
        raise ValueError(message)
    return found


def _natural(digits: str) -> int:
    """Read a number of a header: a length or an offset, and no minus zero either."""
    if digits.startswith("-"):
        raise ValueError(digits)
    return int(digits)
