from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from pfedge.audit.measure import INDISTINGUISHABLE, STILL_KNOWS, Attack, Trio, compare, judge
from pfedge.audit.pool import TEST, TRAIN, VAL, Pool
from pfedge.audit.subject import LAST_CLS, NewRow, Subject
from pfedge.audit.whitebox import Subjects, _best_auc, cka, f1, inversion, probe, reach, relearning, representation

WIDTH, FORGOTTEN = 64, 1
MEANS = np.random.default_rng(7).choice([-1.0, 1.0], size=(3, WIDTH))


class Linear(Subject):
    """A model whose features of an input are given; rows are linear heads on them."""

    def __init__(self, features, weight, class_ids):
        self.features, self.weight, self.class_ids = features.astype(np.float32), weight, tuple(class_ids)

    def rows(self):
        return torch.zeros(len(self.weight), 0, 1), self.weight, torch.zeros(len(self.weight))

    def score(self, index, row=None):
        x = torch.from_numpy(self.features[index])
        logits = x @ self.weight.T
        return logits if row is None else torch.cat([logits, x @ row.weight.T + row.bias], dim=1)

    def representations(self, index):
        return {LAST_CLS: self.features[index]}


@pytest.fixture(scope="module")
def pool():
    labels = np.tile(np.repeat(np.arange(3), 40), 3)
    part = np.repeat([TRAIN, VAL, TEST], 120)
    return Pool(np.zeros((360, 1), np.uint8), labels.astype(np.int64), part.astype(np.int64))


def features(pool, clear, seed):
    """Return features in which class 1 stands apart as the others do (`clear` 1), or looks like class 0 (`clear` 0)."""
    means = MEANS.copy()
    means[FORGOTTEN] = clear * MEANS[FORGOTTEN] + (1 - clear) * MEANS[0]
    return np.random.default_rng(seed).normal(size=(len(pool), WIDTH)) + means[pool.labels]


def subjects(pool, clear_after, clear_reference=0.0):
    """Return models: `after` still sees the class by `clear_after`, the reference by `clear_reference`."""
    weight = torch.from_numpy(MEANS.astype(np.float32)) / 8
    kept = [0, 2]
    return Subjects(
        forgotten=FORGOTTEN,
        pool=pool,
        before=Linear(features(pool, 1.0, 0), weight, (0, 1, 2)),
        after=Linear(features(pool, clear_after, 0), weight[kept], kept),
        reference=Linear(features(pool, clear_reference, 1), weight[kept], kept),
        seed=0,
    )


def verdict(attack):
    return judge([attack], margin=0.1)[0].verdict


@pytest.mark.parametrize(
    ("clear_after", "expected"), [(1.0, STILL_KNOWS), (0.0, INDISTINGUISHABLE)], ids=["knows", "knows nothing"]
)
@pytest.mark.parametrize("attack", [representation, relearning])
def test_what_is_left_in_the_features_is_found(attack, clear_after, expected, pool):
    assert verdict(attack(subjects(pool, clear_after))) == expected


def test_a_reference_that_sees_the_class_as_well_makes_it_nothing_special(pool):
    assert verdict(representation(subjects(pool, 1.0, 1.0))) == INDISTINGUISHABLE


def test_a_row_that_revives_the_class_is_found_among_many_that_do_not():
    rng = np.random.default_rng(0)
    strata = np.repeat([0, 1], 60)
    nothing = rng.normal(size=(120, 1, 12))
    after = nothing.copy()
    after[:60, 0, 5] += 4  # one of twelve rows answers to the class
    best = partial(_best_auc, positive=strata == 0)
    measure = compare("best", best, Trio(None, after, nothing), strata, seed=0)
    assert measure.distance_error < 0.1  # no draw of the bootstrap leaves that row out
    assert judge([Attack("x", "", "", (measure,))], margin=0.1)[0].verdict == STILL_KNOWS


def test_inversion_is_made_and_says_what_the_classes_own_row_did(pool):
    attack = inversion(subjects(pool, 1.0))
    (measure,) = attack.measures
    assert measure.before is None  # the class's own row is no row made up
    assert any("own row has an AUC of" in note for note in attack.notes)
    assert 0.5 <= measure.reference.value <= 1


def test_relearning_does_not_compare_with_a_row_that_was_never_relearned(pool):
    attack = relearning(subjects(pool, 1.0))
    assert all(measure.before is None for measure in attack.measures)
    steps = [measure for measure in attack.measures if measure.name.startswith("steps")]
    assert all(measure.after.value <= measure.reference.value for measure in steps)
    assert not any(measure.judged for measure in steps)
    for curve in attack.data["curves"]:
        assert len(curve["before"]) == len(curve["after"]) == len(curve["steps"])


def test_attacks_with_too_few_inputs_say_so_and_give_no_number(pool):
    few = Pool(pool.inputs, np.where(pool.labels == FORGOTTEN, 0, pool.labels), pool.part)
    few.labels[:3] = FORGOTTEN
    lacking = Subjects(**{**vars(subjects(pool, 1.0)), "pool": few})
    for attack in (representation, relearning, inversion):
        made = attack(lacking)
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


def test_reach_counts_and_is_not_judged():
    attack = reach({"rows": 25, "shared": 75}, [], same_bank=False)
    assert attack.data["share"] == 0.75
    assert verdict(attack) == ""


@pytest.mark.parametrize("device", ["meta"])
def test_a_fresh_row_lies_where_the_rows_do(device):
    """As on a GPU: what is drawn on the CPU goes where the model is."""

    class Elsewhere(Linear):
        def rows(self):
            return tuple(part.to(device) for part in super().rows())

    row = Elsewhere(np.zeros((1, WIDTH)), torch.eye(WIDTH)[:2], (0, 2)).fresh_row(torch.Generator().manual_seed(0))
    assert isinstance(row, NewRow)
    assert {part.device.type for part in row.parameters()} == {device}
