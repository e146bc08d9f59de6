"""What tests of the audit share."""

from __future__ import annotations

import numpy as np
import pytest

from pfedge.auditing.attacks.subjects import Subjects
from pfedge.data import TEST, TRAIN, VAL, Pool
from support.audit_toys import FORGOTTEN, subjects


@pytest.fixture(scope="module")
def pool():
    labels = np.tile(np.repeat(np.arange(3), 40), 3)
    part = np.repeat([TRAIN, VAL, TEST], 120)
    return Pool(np.zeros((360, 1), np.uint8), labels.astype(np.int64), part.astype(np.int64))


@pytest.fixture(scope="module")
def lacking(pool):
    """Models, and three inputs of each split of the class."""
    few = Pool(pool.inputs, np.where(pool.labels == FORGOTTEN, 0, pool.labels), pool.part)
    few.labels[:3] = FORGOTTEN
    return Subjects(**{**vars(subjects(pool, 1.0)), "pool": few})
