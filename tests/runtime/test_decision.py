from __future__ import annotations

import doctest

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pfedge_runtime.bank import PromptBank, decision

logits = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-1e4, 1e4, width=32),
)


def bank(threshold):
    rows = len(threshold)
    head = np.zeros((rows, 1), np.float32)
    return PromptBank(tuple(range(rows)), np.zeros((rows, 1, 1), np.float32), head, head[:, 0], threshold)


def test_examples_in_the_docstrings():
    assert doctest.testmod(decision).failed == 0


@given(logits)
def test_softmax_is_a_distribution_that_keeps_the_order(values):
    probability = decision.softmax(values)
    assert np.allclose(probability.sum(axis=1), 1)
    assert (probability >= 0).all()
    winner = values.argmax(axis=1)
    assert (probability[np.arange(len(values)), winner] == probability.max(axis=1)).all()


@given(logits, st.floats(0, 1))
def test_an_input_is_accepted_only_by_its_winning_row(values, floor):
    threshold = np.linspace(-1, 1, values.shape[1], dtype=np.float32)
    outcome = decision.decide(bank(threshold), values, min_probability=floor)
    best = values.max(axis=1)
    for row in range(len(values)):
        probability = outcome.probability[row, outcome.winner[row]]
        assert outcome.accepted[row] == (best[row] >= threshold[outcome.winner[row]] and probability >= floor)


def test_no_threshold_accepts_everything():
    outcome = decision.decide(bank(np.full(2, -np.inf, np.float32)), np.array([[-50.0, -60.0]], np.float32))
    assert outcome.accepted.all()
    strict = bank(np.full(2, 100, np.float32))
    assert not decision.decide(strict, np.array([[5.0, 6.0]], np.float32)).accepted.any()
    assert decision.decide(strict, np.array([[5.0, 6.0]], np.float32), use_thresholds=False).accepted.all()
