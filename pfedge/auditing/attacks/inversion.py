"""Prompt inversion: a row for the class, made up without any of its data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from pfedge.auditing.attacks.new_rows import NEGATIVES, POSITIVES, Array, logits_of, train_row
from pfedge.auditing.attacks.subjects import MIN_INPUTS, OTHERS, Subjects
from pfedge.auditing.statistics import Attack, BeforeAfterReference, Skipped, compare
from pfedge.guarantees import Index, NewRow, Subject
from pfedge.ranking import auc

CANDIDATES = 4
INVERSION_STEPS = 16

Tick = Callable[[], None]


def inversion(subjects: Subjects, tick: Tick = lambda: None) -> Attack:
    """Make up rows without any input of the class, and see whether one of them answers to it."""
    attack = partial(
        Attack,
        key="inversion",
        title="Prompt inversion",
        question="Can a row be made up, without any data of the class, that recognises it?",
    )
    held_out, others = subjects.held_out(), subjects.train_of_others(OTHERS)
    if len(held_out) < MIN_INPUTS:
        reason = f"it needs {MIN_INPUTS} held-out inputs of the class to be judged on, has {len(held_out)}"
        return attack(measures=(), skipped=(Skipped("all", reason),))
    if len(subjects.others) < 2:  # noqa: PLR2004 -- two rows to combine
        return attack(measures=(), skipped=(Skipped("all", "it needs two rows to combine, one is left"),))
    test = subjects.test_of_others(len(held_out))
    index, strata = np.concatenate([held_out, test]), np.repeat([0, 1], [len(held_out), len(test)])
    scores = []
    for subject in list(subjects.models().values())[1:]:
        made_up = [_row_score(subject, row, index) for row in _candidates(subject, subjects, others)]
        scores.append(np.stack(made_up, axis=1)[:, None])  # they are no repetitions: a bootstrap may not leave one out
        tick()
    subject = subjects.before
    column = subject.class_ids.index(subjects.forgotten)
    logits = logits_of(subject, index)
    rest = np.logaddexp.reduce(np.delete(logits, column, axis=1), axis=1)
    count, positive = scores[0].shape[2], strata == 0
    own = auc(logits[:, column] - rest, positive)
    trio = BeforeAfterReference.of(None, *scores)
    best = partial(_best_auc, positive=positive)
    return attack(
        measures=(compare("AUC of the best row made up", best, trio, strata, seed=subjects.seed),),
        notes=(
            (
                "Forgetting drops the head vector with the prompts: there is no output of the class left to optimise "
                "towards. Rows are made up by interpolating and extrapolating the rows that are left, and from random "
                f"starts trained for {INVERSION_STEPS} steps to answer to those inputs of other classes that the model "
                "is least sure of, and to no others."
            ),
            (
                f"The best of {count} is chosen with labelled inputs of the class, which favours the attacker, in all "
                f"models alike. Before forgetting, the class's own row has an AUC of {own:.3f}."
            ),
        ),
    )


def _candidates(subject: Subject, subjects: Subjects, others: Index) -> list[NewRow]:
    """Return rows made up without the class: combinations of those left, and trained random starts."""
    rng = np.random.default_rng((subjects.seed, 99))
    generator = torch.Generator().manual_seed(subjects.seed)
    prompts, weight, bias = subject.rows()
    count = len(weight)
    rows = []
    for step in range(2 * CANDIDATES):  # half between two rows, half beyond one, away from another
        first, second = rng.choice(count, size=2, replace=False)
        share = 0.5 if step < CANDIDATES else 2.0
        mixed = [share * part[first] + (1 - share) * part[second] for part in (prompts, weight, bias)]
        rows.append(NewRow.of(mixed[0][None], mixed[1][None], mixed[2].view(1)))
    away = prompts.mean(dim=0, keepdim=True), -weight.mean(dim=0, keepdim=True), -bias.mean().view(1)
    rows.append(NewRow.of(*away))
    doubtful, sure = _by_doubt(subject, others)
    place = {class_id: at for at, class_id in enumerate(subject.class_ids)}
    for _ in range(CANDIDATES):
        row = subject.fresh_row(generator)
        batches = []
        for _ in range(INVERSION_STEPS):
            negative = rng.choice(sure, size=NEGATIVES)
            target = [count] * POSITIVES + [place[int(label)] for label in subjects.pool.labels[negative]]
            batches.append((np.concatenate([rng.choice(doubtful, size=POSITIVES), negative]), np.array(target)))
        for _ in train_row(subject, row, batches):
            pass
        rows.append(row)
    return rows


def _by_doubt(subject: Subject, index: Index) -> tuple[Index, Index]:
    """Return the tenth of some inputs that the model is least sure of, and the others."""
    logits = logits_of(subject, index)
    order = (logits.max(axis=1) - np.logaddexp.reduce(logits, axis=1)).argsort(kind="stable")
    return index[order[: max(1, len(index) // 10)]], index[order[max(1, len(index) // 10) :]]


def _row_score(subject: Subject, row: NewRow, index: Index) -> Array:
    """Return by how much a new row's logit exceeds those of the others, `[n]`."""
    logits = logits_of(subject, index, row)
    above: Array = logits[:, -1] - np.logaddexp.reduce(logits[:, :-1], axis=1)
    return above


def _best_auc(scores: Array, positive: NDArray[np.bool_]) -> float:
    """Return the AUC of the best row of `[n, 1, rows]`."""
    return max(auc(row, positive) for row in scores[:, 0].T)
