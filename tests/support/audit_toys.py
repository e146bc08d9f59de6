"""Models of an audit whose features are drawn: class 1 is forgotten, and still seen as clearly as a test asks for."""

from __future__ import annotations

import numpy as np
import torch

from pfedge.auditing.attacks import Subjects
from pfedge.auditing.statistics import judge
from pfedge.guarantees import LAST_CLS, Subject

WIDTH, FORGOTTEN = 64, 1
MEANS = np.random.default_rng(7).choice([-1.0, 1.0], size=(3, WIDTH))


class Linear(Subject):
    """A model whose features of an input are given; rows are linear heads on them."""

    def __init__(self, features, weight, class_ids):
        self.features, self.weight, self.class_ids = features.astype(np.float32), weight, tuple(class_ids)

    def rows(self):
        return torch.zeros(len(self.weight), 0, 1), self.weight, torch.zeros(len(self.weight))

    def score(self, index, row=None):
        x = torch.from_numpy(self.features[index])
        logits = x @ self.weight.T
        return logits if row is None else torch.cat([logits, x @ row.weight.T + row.bias], dim=1)

    def representations(self, index):
        return {LAST_CLS: self.features[index]}


def features(pool, clear, seed):
    """Return features in which class 1 stands apart as the others do (`clear` 1), or looks like class 0 (`clear` 0)."""
    means = MEANS.copy()
    means[FORGOTTEN] = clear * MEANS[FORGOTTEN] + (1 - clear) * MEANS[0]
    return np.random.default_rng(seed).normal(size=(len(pool), WIDTH)) + means[pool.labels]


def subjects(pool, clear_after, clear_reference=0.0):
    """Return models: `after` still sees the class by `clear_after`, the reference by `clear_reference`."""
    weight = torch.from_numpy(MEANS.astype(np.float32)) / 8
    kept = [0, 2]
    return Subjects(
        forgotten=FORGOTTEN,
        pool=pool,
        before=Linear(features(pool, 1.0, 0), weight, (0, 1, 2)),
        after=Linear(features(pool, clear_after, 0), weight[kept], kept),
        reference=Linear(features(pool, clear_reference, 1), weight[kept], kept),
        seed=0,
    )


def verdict(attack):
    return judge([attack], margin=0.1)[0].verdict
