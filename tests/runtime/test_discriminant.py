from __future__ import annotations

import numpy as np
import pytest

from pfedge_runtime.bank import own_threshold, quantise, summarise
from pfedge_runtime.bank.discriminant import Moments, Typicality, solve_head
from pfedge_runtime.errors import BankError

BITS = 14


def classes(counts=(80, 120, 50), width=6, seed=0):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(width, width))
    return [(rng.normal(size=(count, width)) @ mix + 2 * rng.normal(size=width)).astype(np.float32) for count in counts]


def moments(data):
    return Moments.of([summarise(quantise(one, BITS)) for one in data], BITS)


def test_moments_are_those_of_the_data():
    data = classes()
    found = moments(data)
    assert np.allclose(found.mean, [one.mean(axis=0) for one in data], atol=1e-4)
    assert np.allclose(found.centre(), np.concatenate(data).mean(axis=0), atol=1e-4)
    within = sum(np.cov(one.T, bias=True) * len(one) for one in data)
    assert np.allclose(found.within(), within, rtol=1e-3, atol=0.05)
    assert np.allclose(found.scatter(1), np.cov(data[1].T, bias=True) * len(data[1]), rtol=1e-3, atol=0.05)


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 0.7])
def test_the_head_is_scikit_learns_discriminant(shrinkage):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    data = classes()
    inputs, labels = np.concatenate(data), np.repeat(np.arange(3), [len(one) for one in data])
    weight, bias = solve_head(moments(data), shrinkage)
    ours = inputs @ weight.T + bias

    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=None)
    pooled = sum(np.cov(one.T, bias=True) * len(one) for one in data) / (len(inputs) - 3)
    covariance = (1 - shrinkage) * pooled + shrinkage * np.trace(pooled) / 6 * np.eye(6)
    theirs.fit(inputs, labels)
    theirs.coef_ = np.linalg.solve(covariance, theirs.means_.T).T
    theirs.intercept_ = -0.5 * np.diag(theirs.means_ @ theirs.coef_.T) + np.log(theirs.priors_)
    expected = theirs.decision_function(inputs)
    softmax = np.exp(ours - ours.max(1, keepdims=True))
    reference = np.exp(expected - expected.max(1, keepdims=True))
    assert np.allclose(softmax / softmax.sum(1, keepdims=True), reference / reference.sum(1, keepdims=True), atol=2e-3)


def test_what_cannot_be_inverted_says_what_to_do():
    few = classes(counts=(2, 2), width=8)
    with pytest.raises(BankError, match=r"4 inputs in 2 classes cannot be inverted in 8 dimensions: .*--shrinkage"):
        solve_head(moments(few), 0.0)
    weight, _ = solve_head(moments(few), 0.1)
    assert np.isfinite(weight).all()


def test_one_input_a_class_says_what_to_do():
    with pytest.raises(BankError, match="cannot be inverted"):
        solve_head(moments(classes(counts=(1, 1))), 0.1)


def test_expected_scores_are_those_of_the_classs_own_inputs():
    data = classes(counts=(4000, 5000, 3000))
    typicality = Typicality(moments(data))
    for position, one in enumerate(data):
        scores = typicality.score(np.full(len(one), position), one.astype(np.float64))
        assert abs(typicality.threshold(position, 0.0) - scores.mean()) < 0.1 * scores.std()
        deviation = typicality.threshold(position, 1.0) - typicality.threshold(position, 0.0)
        assert abs(deviation / scores.std() - 1) < 0.1
        assert typicality.threshold(position, -np.inf) == -np.inf


def test_inputs_of_no_class_are_less_typical():
    data = classes(counts=(400, 500, 300))
    typicality = Typicality(moments(data))
    strangers = np.random.default_rng(9).normal(0, 12, (200, 6))
    own = typicality.score(np.zeros(400, dtype=np.int64), data[0].astype(np.float64))
    other = typicality.score(np.zeros(200, dtype=np.int64), strangers)
    assert np.median(own) > np.quantile(other, 0.9)


def test_a_threshold_accepts_the_share_asked_for():
    rng = np.random.default_rng(0)
    train, val = (rng.normal(size=(count, 20)).astype(np.float32) for count in (300, 200))
    row = summarise(quantise(train, BITS))
    strict = own_threshold(row, val, BITS, acceptance=0.5)
    lenient = own_threshold(row, val, BITS, acceptance=0.95)
    assert lenient < strict
    assert -4 < lenient < -0.5  # in standard deviations: 95 % of a normal distribution lie above -1.6
    assert own_threshold(row, val[:0], BITS, acceptance=0.95) == -np.inf
    assert own_threshold(summarise(quantise(train[:1], BITS)), val, BITS, acceptance=0.95) == -np.inf
