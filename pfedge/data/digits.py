"""scikit-learn's handwritten digits: 1,797 real 8x8 images, inside the package, no file needed."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pfedge.data.dataset import Dataset, from_arrays, stratified
from pfedge_runtime.errors import MissingExtraError

SIDE = 28
FRACTIONS = (0.6, 0.15)


def load_digits() -> Dataset:
    """Return the digits enlarged to 28x28 (bilinear), split 60 / 15 / 25 %, stratified, always the same way.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        what = "the digits data set (scikit-learn)"
        raise MissingExtraError(what, "train") from error
    raw = datasets.load_digits()
    small = np.rint(raw.images * (255 / 16)).astype(np.uint8)
    images = np.stack(
        [np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for image in small]
    )
    labels = raw.target.astype(np.int64)
    train, val, test = (
        from_arrays(images[index], labels[index], classes=10, source="digits")
        for index in stratified(labels, FRACTIONS)
    )
    return Dataset("digits", tuple(str(digit) for digit in range(10)), train, val, test)
