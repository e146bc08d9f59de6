from __future__ import annotations

from pfedge.auditing.attacks.subjects import Subjects
from pfedge.data import TEST, TRAIN, VAL
from support.audit_toys import FORGOTTEN, subjects


def test_references_beyond_the_first_have_numbers(pool):
    three = subjects(pool, 1.0)
    assert list(three.models()) == ["before", "after", "reference"]
    more = Subjects(**{**vars(three), "more": (three.reference, three.after)})
    assert list(more.models())[3:] == ["reference 2", "reference 3"]


def test_what_an_attacker_lacks_is_said_in_numbers(pool, lacking):
    assert subjects(pool, 1.0).lacking(20) == ""
    assert lacking.lacking(5).startswith("it needs 5 training and 20 held-out inputs of the class, has 3 and")


def test_inputs_of_the_class_and_of_others_come_from_their_splits(pool):
    models = subjects(pool, 1.0)
    for index, parts in ((models.members(), [TRAIN]), (models.held_out(), [VAL, TEST]), (models.tested(), [TEST])):
        assert set(pool.labels[index]) == {FORGOTTEN}
        assert set(pool.part[index]) == set(parts)
    for index in (models.train_of_others(7), models.test_of_others(14)):
        assert len(index) == 14
        assert set(pool.labels[index]) == {0, 2}
