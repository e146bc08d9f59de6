from __future__ import annotations

import pytest

from pfedge.auditing.attacks import relearning
from pfedge.auditing.statistics import NOT_SHOWN, STILL_KNOWS
from support.audit_toys import subjects, verdict


@pytest.mark.parametrize(
    ("clear_after", "expected"), [(1.0, STILL_KNOWS), (0.0, NOT_SHOWN)], ids=["knows", "knows nothing"]
)
def test_what_is_left_in_the_features_is_found(clear_after, expected, pool):
    assert verdict(relearning(subjects(pool, clear_after))) == expected


def test_too_few_inputs_are_said_and_give_no_number(lacking):
    made = relearning(lacking)
    assert made.measures == ()
    assert "inputs of the class" in made.skipped[0].reason


def test_relearning_does_not_compare_with_a_row_that_was_never_relearned(pool):
    attack = relearning(subjects(pool, 1.0))
    assert all(measure.before is None for measure in attack.measures)
    steps = [measure for measure in attack.measures if measure.name.startswith("steps")]
    assert all(measure.after.value <= measure.reference.value for measure in steps)
    assert not any(measure.judged for measure in steps)
    for curve in attack.data["curves"]:
        assert len(curve["before"]) == len(curve["after"]) == len(curve["steps"])
