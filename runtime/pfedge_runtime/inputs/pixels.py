"""Pixels: what every image becomes, uint8 `[h, w, 3]`, whatever its file held."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pfedge_runtime.errors import InputError

Pixels = NDArray[np.uint8]

BYTE = 8  # bits of what the graph takes
WHITE = 2**BYTE - 1


def to_eight_bits(samples: NDArray[Any], bits: int) -> Pixels:
    """Bring unsigned samples of `bits` bits to 8: of more bits the upper 8 are kept, fewer are spread over 0..255.

    >>> to_eight_bits(np.array([0, 0x0FFF, 0x0800]), 12)
    array([  0, 255, 128], dtype=uint8)
    >>> to_eight_bits(np.array([0, 1, 2, 3]), 2)
    array([  0,  85, 170, 255], dtype=uint8)
    """
    if bits >= BYTE:
        return np.asarray(samples >> (bits - BYTE), dtype=np.uint8)
    return np.asarray(samples.astype(np.uint16) * WHITE // (2**bits - 1), dtype=np.uint8)


def grey_to_rgb(grey: Pixels) -> Pixels:
    """Repeat grey values [h, w] in three channels."""
    return np.repeat(grey[:, :, None], 3, axis=2)


def check_size(width: int, height: int, max_pixels: int | None) -> None:
    """Refuse an image that would fill the memory before anything of it is decoded.

    Args:
        width: in pixels, as the file says.
        height: likewise.
        max_pixels: the most that it may have; None is Pillow's `Image.MAX_IMAGE_PIXELS`, 89 million unless it was set.

    Raises:
        InputError: it has more.
    """
    limit = Image.MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
    if limit is not None and width * height > limit:
        message = f"{width} x {height} pixels exceeds limit of {limit}; --max-pixels {width * height} allows it"
        raise InputError(message)


def allow_pixels(limit: int | None) -> None:
    """Let every image that this process reads have up to `limit` pixels; None leaves Pillow's limit as it is."""
    if limit is not None:
        Image.MAX_IMAGE_PIXELS = limit


def choose_frame(path: Path, frames: int, frame: int | None) -> int:
    """Return which frame to read, from 0: the one asked for, or the only one.

    Args:
        path: the file, for the message.
        frames: how many there are.
        frame: which is asked for, from 1.

    Raises:
        InputError: none is asked for and there are several, or there is no such frame.
    """
    if frame is None and frames != 1:
        message = (
            f"{path} has {frames} frames: predict with --frame N (1 to {frames}) takes one, --frame all takes each; "
            "for training, store them one a file"
        )
        raise InputError(message)
    if frame is not None and not 1 <= frame <= frames:
        message = f"{path} has no frame {frame}: it has {frames}, counted from 1"
        raise InputError(message)
    return 0 if frame is None else frame - 1
