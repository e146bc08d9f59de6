"""What tests of the exporter share."""

from __future__ import annotations

import numpy as np
import pytest

from pfedge.data import load_dataset
from pfedge.guarantees import load_model


@pytest.fixture(scope="module")
def validation(tiny_run, coloured_npz):
    val = load_dataset(str(coloured_npz), image_size=14).val.only((0, 1, 3))
    return val.batch(np.arange(len(val)), load_model(tiny_run).backbone.preprocess), val.labels
