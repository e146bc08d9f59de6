"""TIFF files of any kind, written tag by tag: Pillow writes only what it can read well."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

SHORT, LONG = 3, 4


def write_tiff(path: Path, *pages: dict, order: str = "<") -> Path:
    """Write pages, each `{"pixels": array [h, w] or [h, w, n], tag: value, ...}`; what is not given is derived.

    The derived tags say: as many bits as the dtype has, its sample format, black is zero or RGB, uncompressed.
    """
    out = bytearray(struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 0))
    link = 4  # where the offset of the next page goes
    for page in pages:
        pixels = np.atleast_3d(page["pixels"])
        height, width, samples = pixels.shape
        data = page.get("data") or pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
        strip = len(out)
        out += data + b"\0" * (len(data) % 2)
        kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
        derived = {
            256: width, 257: height, 258: [8 * pixels.dtype.itemsize] * samples, 259: 1,
            262: 2 if samples >= 3 else 1, 273: strip, 277: samples, 278: height, 279: len(data), 339: [kind] * samples,
        }  # fmt: skip
        tags = sorted((derived | {tag: value for tag, value in page.items() if isinstance(tag, int)}).items())
        fields = bytearray()
        for tag, value in tags:
            values = value if isinstance(value, list) else [value]
            code, letter = (LONG, "I") if tag in {273, 279} else (SHORT, "H")
            packed = struct.pack(f"{order}{len(values)}{letter}", *values)
            if len(packed) > 4:
                fields += struct.pack(f"{order}HHII", tag, code, len(values), len(out))
                out += packed
            else:
                fields += struct.pack(f"{order}HHI", tag, code, len(values)) + packed.ljust(4, b"\0")
        struct.pack_into(f"{order}I", out, link, len(out))
        out += struct.pack(f"{order}H", len(tags)) + fields
        link = len(out)
        out += b"\0\0\0\0"
    path.write_bytes(out)
    return path
