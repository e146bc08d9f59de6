from __future__ import annotations

import numpy as np
import pytest
import torch

from pfedge.auditing.attacks.subjects import Subjects
from pfedge.auditing.statistics.measure import judge
from pfedge.data.pool import TEST, TRAIN, VAL, Pool
from pfedge.guarantees.subject import LAST_CLS, Subject

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


@pytest.fixture(scope="module")
def pool():
    labels = np.tile(np.repeat(np.arange(3), 40), 3)
    part = np.repeat([TRAIN, VAL, TEST], 120)
    return Pool(np.zeros((360, 1), np.uint8), labels.astype(np.int64), part.astype(np.int64))


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


@pytest.fixture(scope="module")
def lacking(pool):
    """Models, and three inputs of each split of the class."""
    few = Pool(pool.inputs, np.where(pool.labels == FORGOTTEN, 0, pool.labels), pool.part)
    few.labels[:3] = FORGOTTEN
    return Subjects(**{**vars(subjects(pool, 1.0)), "pool": few})


def test_references_beyond_the_first_have_numbers(pool):
    three = subjects(pool, 1.0)
    assert list(three.models()) == ["before", "after", "reference"]
    more = Subjects(**{**vars(three), "more": (three.reference, three.after)})
    assert list(more.models())[3:] == ["reference 2", "reference 3"]


def test_what_an_attacker_lacks_is_said_in_numbers(pool, lacking):
    assert subjects(pool, 1.0).lacking(20) == ""
    assert lacking.lacking(5).startswith("it needs 5 training and 20 held-out inputs of the class, has 3 and")


def test_inputs_of_the_class_and_of_others_come_from_their_splits(pool):
    models = subjects(pool, 1.0)
    for index, parts in ((models.members(), [TRAIN]), (models.held_out(), [VAL, TEST]), (models.tested(), [TEST])):
        assert set(pool.labels[index]) == {FORGOTTEN}
        assert set(pool.part[index]) == set(parts)
    for index in (models.train_of_others(7), models.test_of_others(14)):
        assert len(index) == 14
        assert set(pool.labels[index]) == {0, 2}
