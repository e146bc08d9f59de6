from __future__ import annotations

import contextlib

import numpy as np
import torch

from pfedge.data import load_dataset
from pfedge.guarantees import load_model
from pfedge.guarantees.shared import calibrate, full_bank_logits
from pfedge.training import ACCEPTANCE, calibration_split


def test_a_threshold_comes_from_its_own_classs_validation_inputs_alone(tiny_run, coloured_npz):
    model, val = load_model(tiny_run), load_dataset(str(coloured_npz)).val
    split = calibration_split(val, model.class_ids, seed=0)
    assert set(split.labels.tolist()) == {0, 1, 3}  # class 2 has no row
    calibrate(model, split, contextlib.nullcontext())
    logits = full_bank_logits(model, split, autocast=contextlib.nullcontext())
    for position, class_id in enumerate(model.class_ids):
        own = logits[split.labels == class_id, position]
        assert (own >= float(model.threshold[position])).mean() >= ACCEPTANCE
        without = split.where(np.isin(split.labels, [class_id]))
        before = model.threshold.clone()
        calibrate(model, without, contextlib.nullcontext())
        assert torch.isclose(model.threshold[position], before[position], atol=1e-5)  # another batch shape, another bit
        others = torch.arange(len(before)) != position
        assert torch.equal(model.threshold[others], before[others])  # they had nothing to go by
