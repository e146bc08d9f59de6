"""Pixels: what every image becomes, uint8 `[h, w, 3]`, whatever its file held."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def sixteen_to_eight(grey: NDArray[Any]) -> Pixels:
    """Keep the high byte of 16-bit grey values [h, w]."""
    values = np.clip(grey.astype(np.int64), 0, 65535) >> 8
    return values.astype(np.uint8)


def grey_to_rgb(grey: Pixels) -> Pixels:
    """Repeat grey values [h, w] in three channels."""
    return np.repeat(grey[:, :, None], 3, axis=2)
