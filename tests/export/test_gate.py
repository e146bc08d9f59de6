from __future__ import annotations

import numpy as np
import pytest

from pfedge_export.precision import Validation
from pfedge_export.precision.gate import GateError, gate
from pfedge_runtime.engines import Outputs
from support.graph_toys import bank

LABELS = np.arange(400) % 4
INPUTS = np.arange(400)


class Naming:
    """Names the class that `answers` has for each input, or the row nearest to it."""

    def __init__(self, answers):
        self._answers = answers

    def run(self, inputs, rows):
        distance = np.abs(np.array(rows.class_ids)[None] - self._answers[inputs][:, None])
        return Outputs(-distance.astype(np.float32))


def wrong_on(count):
    answers = LABELS.copy()
    answers[:count] = (answers[:count] + 1) % 4
    return Naming(answers)


def judge(candidate, reference=None, **kwargs):
    return gate(reference or Naming(LABELS), candidate, bank(), Validation(INPUTS, LABELS), precision="int8", **kwargs)


def test_an_equal_graph_passes_under_all_rows_and_half_of_them():
    report = judge(Naming(LABELS))
    assert report.passed
    assert [(one.rows, one.inputs, one.accuracy_fp32, one.accuracy, one.agreement) for one in report.banks] == [
        (4, 400, 1.0, 1.0, 1.0),
        (2, 400, 1.0, 1.0, 1.0),
    ]
    report.require()


def test_a_drop_in_accuracy_fails_and_says_by_how_much():
    report = judge(wrong_on(4))
    assert not report.passed
    with pytest.raises(
        GateError, match=r"all rows: accuracy 0\.990 against 1\.000 \(--max-drop 0\.005\), .* 99\.0% of 400"
    ):
        report.require()
    assert judge(wrong_on(1)).passed
    assert judge(wrong_on(4), max_drop=0.02).passed


def test_disagreement_fails_though_accuracy_is_the_same():
    wrong, otherwise_wrong = LABELS.copy(), LABELS.copy()
    wrong[:6], otherwise_wrong[:6] = 3 - LABELS[:6], (LABELS[:6] + 2) % 4
    report = judge(Naming(otherwise_wrong), Naming(wrong))
    assert report.banks[0].accuracy == report.banks[0].accuracy_fp32
    assert not report.passed


def test_inputs_of_no_class_with_a_row_cannot_judge():
    with pytest.raises(GateError, match="cannot be judged"):
        gate(Naming(LABELS), Naming(LABELS), bank(), Validation(INPUTS, LABELS + 10), precision="fp16")
