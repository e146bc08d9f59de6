from __future__ import annotations

import numpy as np
import pytest

from pfedge.auditing.attacks import f1, probe, representation
from pfedge.auditing.attacks.representation import cka
from pfedge.auditing.statistics import INDISTINGUISHABLE, NOT_SHOWN, STILL_KNOWS
from support.audit_toys import subjects, verdict


@pytest.mark.parametrize(
    ("clear_after", "expected"), [(1.0, STILL_KNOWS), (0.0, NOT_SHOWN)], ids=["knows", "knows nothing"]
)
def test_what_is_left_in_the_features_is_found(clear_after, expected, pool):
    assert verdict(representation(subjects(pool, clear_after))) == expected


def test_a_reference_that_sees_the_class_as_well_makes_it_nothing_special(pool):
    assert verdict(representation(subjects(pool, 1.0, 1.0))) == INDISTINGUISHABLE


def test_too_few_inputs_are_said_and_give_no_number(lacking):
    made = representation(lacking)
    assert made.measures == ()
    assert "inputs of the class" in made.skipped[0].reason


def test_f1_and_a_probe_agree_with_a_direct_count():
    named = np.array([[True], [True], [False], [True], [False]])
    positive = np.array([True, True, True, False, False])
    assert f1(named, positive) == pytest.approx(2 * 2 / (3 + 3))
    rng = np.random.default_rng(0)
    apart = [rng.normal(size=(n, 3)) + shift for n, shift in ((30, 5), (30, 0), (20, 5), (20, 0))]
    assert f1(probe(apart, 5, 0), np.arange(40) < 20) > 0.9


def test_cka_is_one_of_the_same_up_to_rotation_and_scale():
    rng = np.random.default_rng(0)
    left = rng.normal(size=(50, 6))
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert cka(left, 3 * left @ rotation) == pytest.approx(1)
    assert cka(left, rng.normal(size=(50, 6))) < 0.5
