"""The attacks against the papers' formulas, written out as loops."""

from __future__ import annotations

import doctest
import math
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import norm
from sklearn import metrics

from pfedge.auditing.statistics import membership, tpr_at_fpr
from pfedge.auditing.statistics.membership import DEVIATION_FLOOR, lira_offline, lira_online, loss_threshold, phi, rmia
from pfedge.ranking import auc

seeds = st.integers(0, 2**32 - 1)


def membership_matrix(rng, models, samples):
    """Each sample in at least two models and out of at least two."""
    member = rng.random((models, samples)) < 0.5
    member[:2], member[2:4] = True, False
    return rng.permuted(member, axis=0)


def simulate(seed, *, shift, models=16, samples=600, population=500):
    """A target and shadow models that say of a member `shift` more than of others; some samples are harder."""
    rng = np.random.default_rng(seed)
    member = membership_matrix(rng, models, samples)
    trained_on = rng.random(samples) < 0.5
    hardness, hardness_of_population = rng.normal(0, 1, samples), rng.normal(0, 1, population)
    target = hardness + shift * trained_on + rng.normal(0, 1, samples)
    shadow = hardness + shift * member + rng.normal(0, 1, (models, samples))
    z_target = hardness_of_population + rng.normal(0, 1, population)
    z_shadow = hardness_of_population + rng.normal(0, 1, (models, population))
    return trained_on, target, shadow, member, z_target, z_shadow


def attack_all(sample):
    """Every attack's scores."""
    _, target, shadow, member, z_target, z_shadow = sample
    probabilities = [np.exp(loss_threshold(values)) for values in (target, z_target, shadow, z_shadow)]
    return {
        "loss": loss_threshold(target),
        "online": lira_online(target, shadow, member, fixed_variance=False),
        "online, fixed": lira_online(target, shadow, member, fixed_variance=True),
        "offline": lira_offline(target, shadow, member),
        "offline, fixed": lira_offline(target, shadow, member, fixed_variance=True),
        "rmia": rmia(*probabilities, member),
        "rmia, gamma 2": rmia(*probabilities, member, gamma=2),
        "rmia, offline": rmia(*probabilities, member, offline_a=0.3),
    }


def columns(shadow, member, sample):
    inside = [shadow[model][sample] for model in range(len(shadow)) if member[model][sample]]
    outside = [shadow[model][sample] for model in range(len(shadow)) if not member[model][sample]]
    return inside, outside


def squares(values):
    return [(value - fmean(values)) ** 2 for value in values]


def deviations(shadow, member, fixed_variance):
    """Per sample, the deviation of what it is in and of what it is out of."""
    groups = [columns(shadow, member, sample) for sample in range(shadow.shape[1])]
    if fixed_variance:
        pooled = [math.sqrt(fmean(entry for group in groups for entry in squares(group[side]))) for side in (0, 1)]
        return [pooled] * len(groups)
    return [[math.sqrt(fmean(squares(side))) for side in group] for group in groups]


def test_examples_run():
    assert doctest.testmod(membership).failed == 0


@settings(max_examples=50, deadline=None)
@given(seed=seeds, rows=st.integers(2, 9))
def test_phi_is_the_logit_of_the_softmax(seed, rows):
    rng = np.random.default_rng(seed)
    logits, own = rng.normal(0, 3, (20, rows)), rng.integers(rows, size=20)
    probability = softmax(logits, axis=1)[np.arange(20), own]
    assert phi(logits, own) == pytest.approx(np.log(probability / (1 - probability)), abs=1e-6)
    assert np.exp(loss_threshold(phi(logits, own))) == pytest.approx(probability)


def test_phi_tells_sure_models_apart_where_probabilities_cannot():
    logits = np.array([[100, 0, 0], [101, 0, 0], [-800, 0, 0]], np.float32)
    assert phi(logits, np.zeros(3, np.int64)) == pytest.approx(
        [100 - math.log(2), 101 - math.log(2), -800 - math.log(2)]
    )
    assert loss_threshold(np.array([-800.0, 800.0])).tolist() == [-800, 0]
    assert (logits[:, 0] == [100, 101, -800]).all()  # the caller's logits are left as they were


def test_phi_leaves_out_rows_that_are_not_there():
    assert phi(np.array([[1.0, 2.0, -np.inf]]), np.array([0])).tolist() == [-1]


@pytest.mark.parametrize(
    ("logits", "own", "message"),
    [
        ([[1.0]], [0], "R >= 2"),
        ([[1.0, 2.0]], [0, 1], "own"),
        ([[1.0, 2.0]], [2], "from 2 to 2"),
        ([[1.0, 2.0]], [-1], "from -1"),
        ([[1.0, np.nan]], [0], "not finite"),
        ([[-np.inf, 2.0]], [0], "not finite"),
    ],
)
def test_phi_refuses_what_has_none(logits, own, message):
    with pytest.raises(ValueError, match=message):
        phi(np.array(logits), np.array(own))


@settings(max_examples=40, deadline=None)
@given(seed=seeds, models=st.integers(4, 9), fixed_variance=st.booleans())
def test_lira_is_the_papers_formula(seed, models, fixed_variance):
    _, target, shadow, member, *_ = simulate(seed, shift=1, models=models, samples=7)
    online, offline = [], []
    for sample, (s_in, s_out) in enumerate(deviations(shadow, member, fixed_variance)):
        inside, outside = columns(shadow, member, sample)
        online.append(
            norm.logpdf(target[sample], fmean(inside), s_in) - norm.logpdf(target[sample], fmean(outside), s_out)
        )
        offline.append(1 - norm.sf((target[sample] - fmean(outside)) / s_out))
    assert lira_online(target, shadow, member, fixed_variance=fixed_variance) == pytest.approx(online, rel=1e-9)
    assert np.exp(lira_offline(target, shadow, member, fixed_variance=fixed_variance)) == pytest.approx(offline)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, gamma=st.sampled_from([1.0, 2.0]), offline_a=st.sampled_from([None, 0.0, 0.3, 1.0]))
def test_rmia_is_the_papers_formula(seed, gamma, offline_a):
    rng = np.random.default_rng(seed)
    member = membership_matrix(rng, 6, 8)
    target, population, shadow, z_shadow = (rng.random(shape) for shape in (8, 9, (6, 8), (6, 9)))

    def prior(inside, outside):
        if offline_a is None:
            return (fmean(inside) + fmean(outside)) / 2
        return ((1 + offline_a) * fmean(outside) + (1 - offline_a)) / 2

    scores = []
    for x in range(8):
        count = 0
        for z in range(9):
            of_z = [row[z] for row in z_shadow]
            ratio = (target[x] / prior(*columns(shadow, member, x))) / (population[z] / prior(of_z, of_z))
            count += ratio >= gamma
        scores.append(count / 9)
    assert rmia(target, population, shadow, z_shadow, member, gamma=gamma, offline_a=offline_a).tolist() == scores


def test_rmia_counts_a_tie():
    member = np.array([[True], [False]])
    flat = np.full((2, 1), 0.5)
    population = np.array([0.25])
    for target, expected in ((0.5, 1), (0.49, 0)):
        assert rmia(np.array([target]), population, flat, flat, member, gamma=2).tolist() == [expected]


def test_attacks_bite_and_scikit_learn_says_the_same():
    sample = simulate(1, shift=2)
    areas = {}
    for name, scores in attack_all(sample).items():
        areas[name] = auc(scores, sample[0])
        assert areas[name] > 0.85, name
        assert areas[name] == pytest.approx(metrics.roc_auc_score(sample[0], scores)), name
        false, true, _ = metrics.roc_curve(sample[0], scores, drop_intermediate=False)
        assert tpr_at_fpr(scores, sample[0], 0.01) == true[false <= 0.01].max(), name
    assert areas["loss"] < min(areas["online, fixed"], areas["rmia"])  # shadow models tell how hard a sample is


@pytest.mark.parametrize("seed", range(3))
def test_attacks_find_nothing_where_nothing_is(seed):
    sample = simulate(seed, shift=0)
    for name, scores in attack_all(sample).items():
        assert auc(scores, sample[0]) == pytest.approx(0.5, abs=4 * math.sqrt(1 / (12 * 150))), name


@pytest.mark.parametrize("models", [2, 3, 7, 16])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_models_that_agree_say_nothing_about_anyone(models, dtype):
    rng = np.random.default_rng(0)
    value, of_population = rng.normal(0, 5, 300).astype(dtype), rng.normal(0, 5, 200).astype(dtype)
    member = rng.permuted(np.arange(models)[:, None] % 2 == np.zeros(300), axis=0)
    agreed = value, np.tile(value, (models, 1)), member, of_population, np.tile(of_population, (models, 1))
    scores = attack_all((None, *agreed))
    assert not scores["online"].any()
    assert not scores["online, fixed"].any()
    for name in ("offline", "offline, fixed"):
        assert np.exp(scores[name]) == pytest.approx(0.5)
        assert len(set(scores[name])) == 1
    assert set(scores["rmia"]) == {1}  # all ratios are 1, which ties with gamma
    assert set(scores["rmia, gamma 2"]) == {0}


def test_shadow_models_that_agree_cannot_tell_what_the_target_means():
    rng = np.random.default_rng(0)
    shadow, member = np.tile(rng.normal(0, 5, 50), (5, 1)), membership_matrix(rng, 5, 50)
    for fixed_variance in (False, True):
        assert not lira_online(rng.normal(0, 5, 50), shadow, member, fixed_variance=fixed_variance).any()


def test_one_sample_that_models_agree_about_leaves_the_others_alone():
    _, target, shadow, member, *_ = simulate(0, shift=2, samples=20)
    agreed = shadow.copy()
    agreed[:, 3] = 0.1
    before, after = (lira_online(target, values, member, fixed_variance=False) for values in (shadow, agreed))
    assert after[3] == 0
    assert np.delete(after, 3).tolist() == np.delete(before, 3).tolist()


def test_the_floor_keeps_scores_finite():
    target, member = np.array([1e4, -1e4, 0.3]), np.array([[True] * 3, [False] * 3])
    shadow = np.array([[1.0, 1.0, 0.3], [-1.0, -1.0, 0.1]])
    for fixed_variance in (False, True):  # one model on either side has no variance: the nearer one wins
        online = lira_online(target, shadow, member, fixed_variance=fixed_variance)
        assert np.isfinite(online).all()
        assert np.sign(online).tolist() == [1, -1, 1]
        assert np.isfinite(lira_offline(target, shadow, member, fixed_variance=fixed_variance)).all()
    assert online[2] == pytest.approx(((0.3 - 0.1) / DEVIATION_FLOOR) ** 2 / 2)


def test_the_offline_score_tells_the_surest_members_apart():
    shadow, member = np.array([[-1.0, -1, -1], [1, 1, 1]]), np.zeros((2, 3), bool)
    scores = lira_offline(np.array([9.0, 20, 30]), shadow, member)
    assert (np.diff(scores) > 0).all()
    assert set(norm.cdf([9.0, 20, 30])) == {1}


def test_vanishing_probabilities_are_no_nan():
    member, nothing = np.array([[True, True], [False, False]]), np.zeros((2, 2))
    population = np.array([0.0, 1.0])
    scores = rmia(np.array([0.0, 1.0]), population, nothing, np.array([[0.0, 1.0]] * 2), member)
    assert scores.tolist() == [1, 1]


def test_gamma_never_reverses_an_order():
    scores = attack_all(simulate(0, shift=2))
    one, two = scores["rmia"], scores["rmia, gamma 2"]
    assert ((one[:, None] - one) * (two[:, None] - two) >= 0).all()


def test_every_sample_needs_shadow_models_in_and_out():
    target, shadow = np.full(3, 0.5), np.full((2, 3), 0.5)
    member = np.array([[True, True, False], [False, True, False]])
    attacks = {
        "out": [lira_offline, lambda *sample: rmia(target, target, shadow, shadow, sample[2], offline_a=0.3)],
        "in": [
            lambda *sample: lira_online(*sample, fixed_variance=True),
            lambda *sample: rmia(target, target, shadow, shadow, sample[2]),
        ],
    }
    for attack in attacks["out"] + attacks["in"]:
        with pytest.raises(ValueError, match=r"sample [12] is in (all|none) of the 2 shadow models' training sets"):
            attack(target, shadow, member)
    none = np.zeros((2, 3), bool)
    for attack in attacks["in"]:
        with pytest.raises(ValueError, match="sample 0 is in none of the 2"):
            attack(target, shadow, none)
    for attack in attacks["out"]:
        assert len(set(attack(target, shadow, none))) == 1  # offline needs no model that a sample is in


def test_what_does_not_fit_is_refused():
    half, shadow, member = np.full(2, 0.5), np.full((2, 2), 0.5), np.array([[True, False], [False, True]])
    for wrong, message in (
        ((half[:1], shadow, member), "target"),
        ((half, shadow[:1], member), "target"),
        ((half, shadow, member.astype(int)), "int64"),
        ((half, shadow[:0], member[:0]), "target"),
        ((half * np.nan, shadow, member), "the target has values that are not finite: nan"),
        ((half, shadow * np.inf, member), "a shadow model has values that are not finite: inf"),
    ):
        for attack in (lambda *sample: lira_online(*sample, fixed_variance=True), lira_offline):
            with pytest.raises(ValueError, match=message):
                attack(*wrong)
    for wrong, options, message in (
        ((half, half[:0], shadow, shadow[:, :0], member), {}, "a population"),
        ((half, half, shadow, shadow[:1], member), {}, "same 2 shadow models"),
        ((half * 3, half, shadow, shadow, member), {}, "from 1.5 to 1.5"),
        ((half, half, shadow, -shadow, member), {}, "from -0.5"),
        ((half, half, shadow, shadow, member), {"gamma": 0.5}, "0.5"),
        ((half, half, shadow, shadow, member), {"offline_a": 1.5}, "1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            rmia(*wrong, **options)
