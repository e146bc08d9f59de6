from __future__ import annotations

from functools import partial

import numpy as np

from pfedge.auditing.attacks import inversion
from pfedge.auditing.attacks.inversion import _best_auc
from pfedge.auditing.statistics import STILL_KNOWS, Attack, BeforeAfterReference, compare, judge
from support.audit_toys import subjects


def test_too_few_inputs_are_said_and_give_no_number(lacking):
    made = inversion(lacking)
    assert made.measures == ()
    assert "inputs of the class" in made.skipped[0].reason


def test_a_row_that_revives_the_class_is_found_among_many_that_do_not():
    rng = np.random.default_rng(0)
    strata = np.repeat([0, 1], 60)
    nothing = rng.normal(size=(120, 1, 12))
    after = nothing.copy()
    after[:60, 0, 5] += 4  # one of twelve rows answers to the class
    best = partial(_best_auc, positive=strata == 0)
    measure = compare("best", best, BeforeAfterReference(None, after, nothing), strata, seed=0)
    assert measure.distance_error < 0.1  # no draw of the bootstrap leaves that row out
    assert judge([Attack("x", "", "", (measure,))], margin=0.1)[0].verdict == STILL_KNOWS


def test_inversion_is_made_and_says_what_the_classes_own_row_did(pool):
    attack = inversion(subjects(pool, 1.0))
    (measure,) = attack.measures
    assert measure.before is None  # the class's own row is no row made up
    assert any("own row has an AUC of" in note for note in attack.notes)
    assert 0.5 <= measure.reference.value <= 1
