"""Several views of each training image, the same every time, so that what a backbone makes of them can be cached.

    split = several_views(dataset.train, count=4, seed=42)
    # N images become 4 N: view v of image i stands at v * N + i

View 0 is the image itself. The others are random crops of 70 to 100 % of its area, half of them mirrored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge.data.dataset import Split
from pfedge.errors import DataError

SMALLEST_AREA = 0.7
Pixels = NDArray[np.uint8]


def several_views(split: Split, count: int, seed: int) -> Split:
    """Return a split of `count` views of each image; a view is decided by seed, image and number alone.

    Its items raise `DataError` where they are sounds.
    """
    originals = len(split)

    def item(position: int) -> Any:  # noqa: ANN401 -- what the split holds
        number, index = divmod(position, originals)
        decoded = split.item(index)
        if number == 0:
            return decoded
        if not isinstance(decoded, np.ndarray):
            message = "views are of images: train on sounds with --views 1"
            raise DataError(message)
        return crop(decoded, np.random.default_rng((seed, number, index)))

    sources = np.tile(split.sources, count) if split.sources is not None else None
    return Split(np.tile(split.labels, count), item, sources)


def crop(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Return a random part of an image `[h, w, 3]`, of its proportions, perhaps mirrored."""
    height, width = image.shape[:2]
    side = np.sqrt(rng.uniform(SMALLEST_AREA, 1))
    rows, columns = max(1, round(height * side)), max(1, round(width * side))
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    part = image[top : top + rows, left : left + columns]
    return np.ascontiguousarray(part[:, ::-1] if rng.random() < 0.5 else part)  # noqa: PLR2004 -- a coin
