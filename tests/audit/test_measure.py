from __future__ import annotations

import doctest
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from pfedge.auditing.statistics import (
    BETTER,
    INDISTINGUISHABLE,
    NOT_SHOWN,
    NOTHING_FOUND,
    STILL_KNOWS,
    Attack,
    BeforeAfterReference,
    Estimate,
    Measure,
    Skipped,
    compare,
    from_draws,
    judge,
    measure,
    worst,
)

STRATA = np.repeat([0, 1], 100)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(measure, "DRAWS", 200)


def mean(values):
    return float(values.mean())


def contrast(values):
    return float(values[STRATA == 1].mean() - values[STRATA == 0].mean())


def spread(values):
    return float(values.std())


def normal(seed, centre=0.0, repetitions=1):
    return np.random.default_rng(seed).normal(centre, 1, (len(STRATA), repetitions))


def attack(*measures):
    return Attack("toy", "Toy", "Does it?", tuple(measures))


def judged(*measures, margin=0.0):
    return judge([attack(*measures)], margin=margin)[0]


def compared(before, after, reference, *, margin, seed=0, repetitions=1):
    """The one measure of models that answer around given values, judged."""
    trio = BeforeAfterReference(
        *(normal(100 * seed + at, centre, repetitions) for at, centre in enumerate((before, after, reference)))
    )
    return judged(compare("mean", mean, trio, STRATA, seed=seed), margin=margin).measures[0]


def a_measure(distance, error=0.1, gain=None, gain_error=None, **options):
    nothing = Estimate(0.0, 0.0, 0.0)
    return Measure("m", nothing, nothing, nothing, distance, error, gain, gain_error, **options)


def test_examples_run():
    assert doctest.testmod(measure).failed == 0


def test_equal_models_are_told_apart_in_at_most_one_audit_of_twenty(monkeypatch):
    monkeypatch.setattr(measure, "DRAWS", 100)
    audits = 200
    indistinguishable = 0
    for audit in range(audits):
        trio = BeforeAfterReference(None, normal(2 * audit), normal(2 * audit + 1))
        measures = [compare(kind.__name__, kind, trio, STRATA, seed=audit) for kind in (mean, contrast, spread)]
        indistinguishable += judged(*measures, margin=0.0).verdict in NOTHING_FOUND
    assert indistinguishable / audits >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / audits)  # 0.904, three standard errors


def test_intervals_cover_the_distance_and_are_no_wider_than_need_be():
    covered, errors = 0, []
    for audit in range(100):
        result = compared(0.0, 0.5, 0.0, margin=0.0, seed=audit)
        covered += result.low <= 0.5 <= result.high
        errors.append(result.distance_error)
    assert covered >= 90
    assert np.mean(errors) == pytest.approx(math.sqrt(2 / len(STRATA)), rel=0.05)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (3.0, 3.0, STILL_KNOWS),  # as far as it was
        (1.5, 3.0, STILL_KNOWS),  # further than it was
        (5.0, 2.0, BETTER),
        (5.0, 0.0, INDISTINGUISHABLE),
        (0.0, 0.0, INDISTINGUISHABLE),  # there was nothing to forget
        (-5.0, 2.0, BETTER),  # from the other side
        (-2.0, 2.0, STILL_KNOWS),
    ],
)
def test_a_distance_is_told_in_either_direction(before, after, verdict, sign):
    result = compared(sign * before, sign * after, 0.0, margin=0.5)
    assert result.verdict == verdict
    assert result.low <= result.distance <= result.high
    assert result.gain == pytest.approx(abs(before) - abs(after), abs=0.8)


def test_without_a_before_nothing_is_better():
    for centre, verdict in ((3.0, STILL_KNOWS), (-3.0, STILL_KNOWS), (0.0, NOT_SHOWN)):
        trio = BeforeAfterReference(None, normal(0, centre), normal(1))
        result = judged(compare("mean", mean, trio, STRATA, seed=0), margin=0.2).measures[0]
        assert (result.verdict, result.before, result.gain, result.gain_error) == (verdict, None, None, None)


def test_of_several_references_the_nearest_counts():
    for places in ((-5.0, 1.0), (1.0, -5.0)):
        trio = BeforeAfterReference.of(
            normal(0, 8.0), normal(1, 4.0), *(normal(2 + at, place) for at, place in enumerate(places))
        )
        result = judged(compare("mean", mean, trio, STRATA, seed=0), margin=0.2).measures[0]
        assert result.references == pytest.approx(places, abs=0.4)
        assert result.reference.value == max(result.references)
        assert result.distance == pytest.approx(3.0, abs=0.5)
        assert result.gain == pytest.approx(4.0, abs=0.8)
        assert result.verdict == BETTER


@pytest.mark.parametrize(("after", "verdict"), [(0.0, NOT_SHOWN), (4.0, STILL_KNOWS), (-4.0, STILL_KNOWS)])
def test_what_lies_between_two_references_is_no_trace(after, verdict):
    trio = BeforeAfterReference.of(None, normal(0, after), normal(1, -2.0), normal(2, 2.0))
    result = judged(compare("mean", mean, trio, STRATA, seed=0), margin=0.1).measures[0]
    assert result.verdict == verdict
    assert abs(result.distance) == pytest.approx(2.0, abs=0.5)


def test_where_trainings_differ_by_chance_a_second_reference_accuses_fewer_wrongly(monkeypatch):
    monkeypatch.setattr(measure, "DRAWS", 100)
    chance, accused = np.random.default_rng(0), {1: 0, 2: 0}
    for audit in range(100):
        after, *references = (normal(3 * audit + at, place) for at, place in enumerate(chance.normal(0, 0.2, 3)))
        for count in accused:
            result = compare(
                "mean", mean, BeforeAfterReference.of(None, after, *references[:count]), STRATA, seed=audit
            )
            accused[count] += judged(result, margin=0.1).verdict not in NOTHING_FOUND
    assert 0 < accused[2] < 0.6 * accused[1]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("distance", "margin", "verdict"),
    [
        (-0.198, 0.1, NOT_SHOWN),  # the interval [-0.336, -0.060] reaches into the margin, no more
        (0.0, 0.1, NOT_SHOWN),  # the interval [-0.138, 0.138] is wider than the margin
        (0.0, 0.14, INDISTINGUISHABLE),
        (0.05, 0.14, NOT_SHOWN),
        (0.3, 0.1, STILL_KNOWS),
    ],
)
def test_only_an_interval_inside_of_the_margin_is_indistinguishable(distance, margin, verdict, sign):
    one = replace(a_measure(sign * distance), distance_error=0.0704)
    assert judged(one, margin=margin).verdict == verdict


def test_distances_within_the_margin_are_of_no_interest():
    assert compared(3.0, 1.0, 0.0, margin=0.0).verdict == BETTER
    assert compared(3.0, 1.0, 0.0, margin=1.2).verdict == INDISTINGUISHABLE


@pytest.mark.parametrize("sign", [1, -1])
def test_more_measures_ask_for_more_evidence(sign):
    borderline = a_measure(sign * 0.22)  # 2.2 standard errors
    assert judged(borderline).verdict == STILL_KNOWS
    others = [a_measure(0.0)] * 9
    assert {entry.verdict for entry in judged(borderline, *others).measures} == {NOT_SHOWN}
    across = judge([attack(borderline), attack(*others)], margin=0.0)  # over all attacks, not within each
    assert {entry.verdict for entry in across} == {NOT_SHOWN}
    unjudged = [replace(entry, judged=False) for entry in others]
    assert judged(borderline, *unjudged).verdict == STILL_KNOWS  # only what is judged counts


def test_an_attacks_verdict_is_its_worst():
    mixed = [a_measure(0.0), a_measure(2.0, gain=3.0, gain_error=0.1), a_measure(2.0, gain=0.1, gain_error=0.1)]
    for count, verdict in enumerate((NOT_SHOWN, BETTER, STILL_KNOWS), start=1):
        assert judged(*mixed[:count]).verdict == verdict
    assert worst([]) == worst([""]) == ""


def test_what_is_not_judged_has_no_verdict():
    trio = BeforeAfterReference(normal(0, 9), normal(1, 9), normal(2))
    result = judged(compare("mean", mean, trio, STRATA, seed=0, judged=False))
    assert (result.verdict, result.measures[0].verdict) == ("", "")
    assert math.isnan(result.measures[0].low)
    assert result.measures[0].distance > 5  # told all the same


@pytest.mark.parametrize("repetitions", [1, 4])
def test_what_models_have_in_common_cancels(repetitions):
    before, after = normal(0, 2.0, repetitions), normal(1, 0.0, repetitions)
    for statistic in (mean, contrast, spread):
        equal = compare("equal", statistic, BeforeAfterReference(before, after, after.copy()), STRATA, seed=0)
        assert (equal.distance, equal.distance_error) == (0, 0)
        assert judged(equal).verdict == INDISTINGUISHABLE
    shifted = compare("mean", mean, BeforeAfterReference(before, after + 1, after), STRATA, seed=0)
    assert shifted.distance == pytest.approx(1)
    assert shifted.distance_error == pytest.approx(0, abs=1e-12)  # though either mean is uncertain
    assert shifted.after.high - shifted.after.low > 0.05


def test_inputs_are_drawn_within_strata_and_repetitions_alike_for_all():
    strata = np.array([3, 3, 5, 5, 5, 9])
    inputs, repetitions = np.meshgrid(strata, range(4), indexing="ij")
    seen = []

    def statistic(values):
        seen.append(values)
        return 0.0

    trio = BeforeAfterReference(
        *(np.stack([inputs, repetitions, np.full_like(inputs, model)], axis=-1) for model in range(3))
    )
    compare("seen", statistic, trio, strata, seed=0)
    assert all(values[:, column, 0].tolist() == strata.tolist() for values in seen for column in range(4))
    drawn = seen[:-3]  # the last are the values themselves
    assert len(drawn) == 3 * 200
    for before, after, reference in zip(*(drawn[model::3] for model in range(3)), strict=True):
        assert (before[..., :2] == after[..., :2]).all()
        assert (after[..., :2] == reference[..., :2]).all()
        assert [values[0, 0, 2] for values in (before, after, reference)] == [0, 1, 2]
    assert len({tuple(values[0, :, 1]) for values in drawn}) > 20  # repetitions are drawn too


def test_a_seed_gives_one_result():
    trio = BeforeAfterReference(normal(0), normal(1), normal(2))
    first, again, other = (compare("mean", mean, trio, STRATA, seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first.distance == other.distance
    assert first.distance_error != other.distance_error


def test_an_interval_holds_its_own_value():
    drawn = np.random.default_rng(0).normal(0, 1, (500, 3))
    result = from_draws("biased", np.array([9.0, -9.0, 0.0]), drawn, before=True)
    assert (result.before.high, result.after.low) == (9, -9)
    assert (result.distance, result.gain) == (-9, 0)
    assert result.distance_error == pytest.approx(math.sqrt(2), rel=0.1)


def test_json_gives_back_what_it_took():
    with_before = compare("mean", mean, BeforeAfterReference(normal(0), normal(1), normal(2)), STRATA, seed=0)
    without = compare("contrast", contrast, BeforeAfterReference(None, normal(1), normal(2)), STRATA, seed=0)
    whole = replace(
        attack(with_before, replace(without, judged=False)),
        skipped=(Skipped("other", "too few"),),
        notes=("a note",),
        data={"curve": [[0.0, 1.0], [0.0, 1.0]], "counts": {"in": 3}},
    )
    for state in (whole, *judge([whole], margin=0.1)):
        text = json.dumps(state.to_json(), allow_nan=False)
        again = Attack.from_json(json.loads(text))
        assert repr(again) == repr(state)  # equal, and nan where nan was
        assert json.dumps(again.to_json(), allow_nan=False) == text


def test_numbers_that_are_none_survive_json():
    nothing = Estimate(math.nan, math.nan, math.nan)
    whole = attack(replace(a_measure(math.nan, math.nan), before=None, after=nothing, reference=nothing))
    text = json.dumps(whole.to_json(), allow_nan=False)
    assert repr(Attack.from_json(json.loads(text))) == repr(whole)


def test_a_distance_that_is_none_is_not_taken_for_equality():
    assert judged(a_measure(math.nan, math.nan)).verdict == STILL_KNOWS
