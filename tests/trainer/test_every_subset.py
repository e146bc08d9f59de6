from __future__ import annotations

import numpy as np
import pytest

from pfedge.evaluation.every_subset import Scores, abstention, evaluate_every_subset
from pfedge_runtime.bank import RowKey, StatisticsBank, decide, quantise, summarise
from pfedge_runtime.errors import UsageError


@pytest.fixture(scope="module")
def made():
    """Four classes in eight dimensions, the last one far from the others."""
    rng = np.random.default_rng(0)
    centres = np.eye(8)[:4] * np.array([3, 3, 3, 30])[:, None]
    draw = lambda count: {c: (centres[c] + rng.normal(size=(count, 8))).astype(np.float32) for c in range(4)}  # noqa: E731
    bank = StatisticsBank({RowKey(c): summarise(quantise(x, 12)) for c, x in draw(200).items()}, 12, 0.1)
    test = draw(50)
    return Scores(bank, np.concatenate(list(test.values()))), np.repeat(np.arange(4), 50)


def test_every_proper_subset_is_what_a_smaller_bank_gives(made):
    scores, labels = made
    seen = []
    outcome = evaluate_every_subset(scores, labels, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (14, 14)
    assert {k: len(found) for k, found in outcome.subsets.items()} == {1: 4, 2: 6, 3: 4}
    assert all(one.retained == 1 for one in outcome.subsets[3])
    for one in outcome.subsets[2]:
        bank = scores.bank.drop(one.forgotten)
        keep = ~np.isin(labels, one.forgotten)
        named = np.array(bank.class_ids)[scores.logits(bank)[keep].argmax(1)]
        assert one.retained == (named == labels[keep]).mean()
    assert set(outcome.to_json()["forgetting"]["1"]) == {"subsets", "possible", "retain_mean", "retain_std", "worst"}


def test_a_class_far_from_the_others_is_abstained_on(made):
    scores, labels = made
    far, near = abstention(scores, labels, 3), abstention(scores, labels, 0)
    assert far.auroc > 0.99
    assert far.abstained_at_95 == 1
    assert near.auroc < far.auroc
    bank = scores.bank.drop({3})
    decisions = decide(bank, scores.logits(bank), scores.embedding)
    assert far.abstained == (~decisions.accepted[labels == 3]).mean()


def test_sizes_can_be_chosen(made):
    scores, labels = made
    assert list(evaluate_every_subset(scores, labels, sizes=(2,)).subsets) == [2]
    with pytest.raises(UsageError, match=r"cannot forget \[4\] of 4 classes"):
        evaluate_every_subset(scores, labels, sizes=(4,))


def test_above_sixteen_classes_a_sample_is_taken():
    rng = np.random.default_rng(0)
    rows = {RowKey(c): summarise(quantise(rng.normal(c, 1, (5, 2)).astype(np.float32), 12)) for c in range(17)}
    scores = Scores(StatisticsBank(rows, 12, 0.1), rng.normal(size=(17, 2)).astype(np.float32))
    outcome = evaluate_every_subset(scores, np.arange(17), limit=3)
    assert {len(found) for found in outcome.subsets.values()} == {3}
    assert outcome.possible[8] == 24310
