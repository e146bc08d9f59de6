from __future__ import annotations

import doctest
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from pfedge.auditing.statistics import roc
from pfedge.auditing.statistics.roc import POINTS, roc_curve, tpr_at_fpr
from pfedge.ranking import auc

NAN, INF = float("nan"), float("inf")


def draw(seed, negatives, positives, levels):
    """Scores and labels; few levels make many ties, none make none."""
    rng = np.random.default_rng(seed)
    positive = rng.permutation(np.repeat([False, True], [negatives, positives]))
    scores = rng.normal(positive * 0.7, 1)
    return (np.round(scores * levels) if levels else scores), positive


samples = st.builds(
    draw, st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 60), st.sampled_from([0, 0.5, 2, 10])
)


def test_examples_run():
    assert doctest.testmod(roc).failed == 0


@settings(max_examples=200, deadline=None)
@given(sample=samples)
def test_the_area_is_scikit_learns(sample):
    scores, positive = sample
    assert auc(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores), abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(sample=samples, fpr=st.sampled_from([0.0, 0.001, 0.01, 0.1, 0.29, 0.5, 1.0]))
def test_the_rate_is_the_best_of_scikit_learns_thresholds(sample, fpr):
    scores, positive = sample
    false, true, _ = metrics.roc_curve(positive, scores, drop_intermediate=False)
    assert tpr_at_fpr(scores, positive, fpr) == true[false <= fpr].max()


@settings(max_examples=200, deadline=None)
@given(sample=samples)
def test_the_curve_has_scikit_learns_points_and_its_area(sample):
    scores, positive = sample
    false, true = roc_curve(scores, positive)
    full = metrics.roc_curve(positive, scores, drop_intermediate=False)
    assert set(zip(false, true, strict=True)) <= set(zip(full[0].tolist(), full[1].tolist(), strict=True))
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(auc(scores, positive), abs=1e-12)  # no corner is lost


def test_a_rate_that_is_written_down_is_reached():
    scores = np.arange(101.0)  # the positive is below the 29 highest of 100 negatives
    positive = scores == 71
    assert tpr_at_fpr(scores, positive, 0.29) == 1  # though 0.29 * 100 is less than 29
    assert tpr_at_fpr(scores, positive, 0.28) == 0


@pytest.mark.parametrize("levels", [0, 300])
def test_a_long_curve_is_thinned_and_stays_where_it_was(levels):
    scores, positive = draw(0, 20_000, 20_000, levels)
    false, true = roc_curve(scores, positive)
    assert json.loads(json.dumps([false, true])) == [false, true]
    assert len(false) == len(true) <= POINTS
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= 0).all()
    full_false, full_true, _ = metrics.roc_curve(positive, scores, drop_intermediate=False)
    assert np.abs(np.interp(full_false, false, true) - full_true).max() < 0.02
    assert np.trapezoid(true, false) == pytest.approx(auc(scores, positive), abs=1e-3)
    assert sum(0 < rate < 0.01 for rate in false) > 10  # for a logarithmic axis


def test_perfect_and_constant_and_reversed_scores():
    positive = np.array([False, False, True, True])
    for scores, area, rate, curve in (
        ([1, 2, 3, 4], 1, 1, ([0, 0, 1], [0, 1, 1])),
        ([5, 5, 5, 5], 0.5, 0, ([0, 1], [0, 1])),
        ([4, 3, 2, 1], 0, 0, ([0, 1, 1], [0, 0, 1])),
    ):
        assert auc(np.array(scores), positive) == area
        assert tpr_at_fpr(np.array(scores), positive, 0.1) == rate
        assert roc_curve(np.array(scores), positive) == curve


def test_infinite_scores_are_extremes():
    positive = np.array([False, True, False, True, True, False])
    infinite, finite = np.array([-INF, INF, 0, 1, -INF, INF]), np.array([-9.0, 9, 0, 1, -9, 9])
    for function in (auc, roc_curve, lambda *sample: tpr_at_fpr(*sample, 0.4)):
        assert function(infinite, positive) == function(finite, positive)


@pytest.mark.parametrize("function", [auc, roc_curve, lambda *sample: tpr_at_fpr(*sample, 0.1)])
def test_what_has_no_curve_is_refused(function):
    scores, positive = np.array([0.1, 0.2, 0.3]), np.array([False, True, True])
    for wrong_scores, wrong_positive, message in (
        (scores, np.zeros(3, bool), "0 of 3 are positive"),
        (scores, np.ones(3, bool), "3 of 3 are positive"),
        (scores[:0], positive[:0], "0 of 0 are positive"),
        (np.array([0.1, NAN, 0.3]), positive, "score 1 is not a number"),
        (scores[:2], positive, r"\(2,\)"),
        (scores, positive.astype(int), "int64"),
    ):
        with pytest.raises(ValueError, match=message):
            function(wrong_scores, wrong_positive)


@pytest.mark.parametrize("fpr", [-0.1, 1.1, NAN])
def test_no_rate_is_refused(fpr):
    with pytest.raises(ValueError, match=str(fpr)):
        tpr_at_fpr(np.array([0.1, 0.2]), np.array([False, True]), fpr)
