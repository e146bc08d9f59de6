"""The inputs of an audit: the same for every model, attack and class.

pool = Pool.of(dataset, preprocess, class_ids, limit=300, seed=0)
members = pool.find(TRAIN, [3])          # indices of training inputs of class 3
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge.data.dataset import Dataset, Split
from pfedge_runtime.inputs import Preprocess

TRAIN, VAL, TEST = 0, 1, 2
POOL_LIMIT = 300
BATCH = 64


@dataclass(frozen=True)
class Pool:
    """N inputs of all classes and splits.

    Attributes:
        inputs: `[N, ...]`, as a graph takes them.
        labels: int64 `[N]`, class ids.
        part: int64 `[N]`: `TRAIN`, `VAL` or `TEST`.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    part: NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Dataset, preprocess: Preprocess, class_ids: Sequence[int], *, limit: int, seed: int) -> Pool:
        """Draw at most `limit` inputs of each class and split."""
        inputs, labels, parts = [], [], []
        for part, split in enumerate((dataset.train, dataset.val, dataset.test)):
            index = _draw(split, class_ids, limit, np.random.default_rng((seed, part)))
            if len(index):
                inputs.append(split.batch(index, preprocess))
                labels.append(split.labels[index])
                parts.append(np.full(len(index), part, dtype=np.int64))
        return cls(np.concatenate(inputs), np.concatenate(labels).astype(np.int64), np.concatenate(parts))

    def __len__(self) -> int:
        """Return N."""
        return len(self.labels)

    def find(self, parts: int | Sequence[int], class_ids: Sequence[int]) -> NDArray[np.int64]:
        """Return the indices of inputs of some splits and classes, increasing."""
        return np.flatnonzero(np.isin(self.part, parts) & np.isin(self.labels, class_ids))

    def split(self) -> Split:
        """Return the inputs as a prepared split."""
        return Split(self.labels, self.inputs.__getitem__)

    @property
    def digest(self) -> str:
        """SHA-256 of inputs, labels and parts."""
        whole = hashlib.sha256(f"{self.inputs.dtype}{self.inputs.shape}".encode())
        for array in (self.inputs, self.labels, self.part):
            whole.update(np.ascontiguousarray(array).data)
        return whole.hexdigest()


def split_digest(split: Split, preprocess: Preprocess) -> str:
    """Return SHA-256 of all inputs of a split, as a graph takes them, and of their labels."""
    whole = hashlib.sha256(np.ascontiguousarray(split.labels.astype("<i8")).data)
    for start in range(0, len(split), BATCH):
        inputs = split.batch(np.arange(start, min(start + BATCH, len(split))), preprocess)
        whole.update(np.ascontiguousarray(inputs).data)
    return whole.hexdigest()


def _draw(split: Split, class_ids: Sequence[int], limit: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return at most `limit` indices of each class, increasing."""
    drawn = []
    for class_id in class_ids:
        own = np.flatnonzero(split.labels == class_id)
        drawn.append(own if len(own) <= limit else np.sort(rng.choice(own, size=limit, replace=False)))
    return np.sort(np.concatenate(drawn))
