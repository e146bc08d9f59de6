"""Counting right answers, from arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def confusion_matrix(labels: NDArray[np.int64], predicted: NDArray[np.int64], *, classes: int) -> NDArray[np.int64]:
    """Return counts `[true, predicted]` of class ids `[N]`.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def accuracy_of(matrix: NDArray[np.int64]) -> float:
    """Return the share of the counts `[true, predicted]` on the diagonal; 0 where nothing was counted.

    >>> accuracy_of(np.array([[3, 1], [0, 4]]))
    0.875
    """
    return float(np.trace(matrix) / max(1, matrix.sum()))
