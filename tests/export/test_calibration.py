from __future__ import annotations

import numpy as np
import onnx
import pytest

from pfedge.guarantees import load_model
from pfedge_export.graph import ExportError
from pfedge_export.precision import Calibration, to_int8
from pfedge_export.precision.calibration import evenly_spaced


def test_calibration_needs_enough_inputs_of_two_classes(tiny_run, validation):
    inputs, labels = validation
    bank = load_model(tiny_run).bank()
    with pytest.raises(ExportError, match="cannot calibrate int8 on 4 inputs"):
        to_int8(onnx.ModelProto(), Calibration(bank, inputs[:4], labels[:4]))
    with pytest.raises(ExportError, match="of 1 classes"):
        to_int8(onnx.ModelProto(), Calibration(bank, inputs, np.zeros_like(labels)))


def test_calibration_inputs_are_spread_over_what_may_come_class_by_class():
    assert evenly_spaced(320, 128)[[0, -1]].tolist() == [0, 319]
    assert len(evenly_spaced(320, 128)) == 128
    assert evenly_spaced(3, 128).tolist() == [0, 1, 2]
