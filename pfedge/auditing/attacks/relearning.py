"""New rows for the forgotten class: learned from a few of its inputs, or made up without any."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pfedge.auditing.attacks.subjects import MIN_INPUTS, MODELS, OTHERS, Subjects
from pfedge.auditing.statistics.measure import Attack, Measure, Skipped, Trio, compare
from pfedge.auditing.statistics.roc import auc
from pfedge.guarantees import BATCH, Index, NewRow, Subject

RELEARN_SHOTS = (5, 20)
RELEARN_DRAWS = 3
STEPS = (0, 1, 2, 4, 8, 16, 32)
POSITIVES = NEGATIVES = 8
TARGET = 0.8
CANDIDATES = 4
INVERSION_STEPS = 16

Array = NDArray[Any]
Tick = Callable[[], None]


def relearning(subjects: Subjects, tick: Tick = lambda: None) -> Attack:
    """Train a new row for the class from a few of its inputs, and see how fast it learns."""
    attack = partial(
        Attack,
        key="relearning",
        title="Relearning",
        question="Does a new row for the class learn faster than in a model that never had it?",
    )
    if reason := subjects.lacking(min(RELEARN_SHOTS)):
        return attack(measures=(), skipped=(Skipped("all", reason),))
    held_out = subjects.held_out()
    test = subjects.test_of_others(len(held_out))
    index, strata = np.concatenate([held_out, test]), np.repeat([0, 1], [len(held_out), len(test)])
    knew = _names(subjects.before, index, subjects.before.class_ids.index(subjects.forgotten))
    goal = 0.5 + TARGET * (_balanced(knew[:, None], positive=strata == 0) - 0.5)
    measures: list[Measure] = []
    skipped, curves = [], []
    for shots in RELEARN_SHOTS:
        if shots > len(subjects.members()):
            reason = f"there are {len(subjects.members())} training inputs of the class"
            skipped.append(Skipped(f"{shots} shots", reason))
            continue
        learners = list(subjects.models().values())[1:]  # before, there is nothing to relearn
        runs: list[list[Array]] = [[] for _ in learners]
        for draw, (learner, run) in itertools.product(range(RELEARN_DRAWS), zip(learners, runs, strict=True)):
            run.append(_relearn(learner, subjects, shots, draw, index))
            tick()
        named = Trio.of(None, *(np.stack(run, axis=1) for run in runs))
        positive = strata == 0
        area = partial(_area, positive=positive)
        steps = partial(_steps_to, positive=positive, goal=goal)
        measures.append(
            compare(f"mean balanced accuracy over the steps, {shots} shots", area, named, strata, seed=subjects.seed)
        )
        measures.append(
            compare(
                f"balanced accuracy after {STEPS[-1]} steps, {shots} shots",
                partial(_balanced, positive=positive),
                named.map(lambda values: values[:, :, -1]),
                strata,
                seed=subjects.seed,
            )
        )
        measures.append(
            compare(
                f"steps to a balanced accuracy of {goal:.2f}, {shots} shots",
                steps,
                named,
                strata,
                seed=subjects.seed,
                judged=False,
            )
        )
        curve = named.map(partial(_curve, positive=positive))
        lines = {model: [float(value) for value in getattr(curve, model)] for model in MODELS[1:]}
        lines["before"] = [_balanced(knew[:, None], positive=positive)] * len(STEPS)
        curves.append({"shots": shots, "steps": list(STEPS), **lines})
    never = 2 * STEPS[-1]
    notes = [
        (
            f"Balanced accuracy is the mean of recall on the class and on the others ({len(held_out)} and {len(test)} "
            f"held-out inputs): a row that answers with the class to everything has 0.5. {RELEARN_DRAWS} draws. Before "
            f"forgetting, the class's own row has {_balanced(knew[:, None], positive=strata == 0):.3f}."
        ),
        f"A goal that is not reached in {STEPS[-1]} steps counts as {never} steps. "
        + "; ".join(_ratio(measure) for measure in measures if measure.name.startswith("steps"))
        + ".",
    ]
    if not subjects.after.learns_by_steps:
        notes.append("Nothing is learned by gradient here: a row is summed up at once, which counts as one step.")
    return attack(measures=tuple(measures), skipped=tuple(skipped), notes=tuple(notes), data={"curves": curves})


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
    logits = _logits(subject, index)
    rest = np.logaddexp.reduce(np.delete(logits, column, axis=1), axis=1)
    count, positive = scores[0].shape[2], strata == 0
    own = auc(logits[:, column] - rest, positive)
    trio = Trio.of(None, *scores)
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


def _relearn(subject: Subject, subjects: Subjects, shots: int, draw: int, index: Index) -> Array:
    """Return bool `[n, steps]`: which inputs a row learned from `shots` members answers to, as it learns."""
    rng = np.random.default_rng((subjects.seed, shots, draw))
    members = rng.choice(subjects.members(), size=shots, replace=False)
    if subjects.forgotten in subject.class_ids:  # nothing was forgotten: there is nothing to learn
        known = _names(subject, index, subject.class_ids.index(subjects.forgotten))
        return np.stack([known] * len(STEPS), axis=1)
    column = len(subject.class_ids)
    if not subject.learns_by_steps:
        found = subject.relearned(subjects.forgotten, members, index).argmax(dim=1).numpy() == column
        return np.stack([np.zeros_like(found), *[found] * (len(STEPS) - 1)], axis=1)
    row = subject.fresh_row(torch.Generator().manual_seed(int(rng.integers(2**31))))
    batches = _batches(subject, subjects, members, rng)
    return np.stack([_names(subject, index, column, row) for _ in _train(subject, row, batches)], axis=1)


def _batches(
    subject: Subject, subjects: Subjects, members: Index, rng: np.random.Generator
) -> list[tuple[Index, Index]]:
    """Return the inputs and target positions of every step: members and others, alike in number."""
    pool, others = subjects.pool, subjects.train_of_others(OTHERS)
    place = {class_id: at for at, class_id in enumerate(subject.class_ids)}
    batches = []
    for _ in range(STEPS[-1]):
        positive = rng.choice(members, size=min(POSITIVES, len(members)), replace=False)
        negative = rng.choice(others, size=NEGATIVES, replace=False)
        target = [len(place)] * len(positive) + [place[int(label)] for label in pool.labels[negative]]
        batches.append((np.concatenate([positive, negative]), np.array(target)))
    return batches


def _train(subject: Subject, row: NewRow, batches: list[tuple[Index, Index]]) -> Iterator[int]:
    """Train a row, pausing at each of `STEPS`."""
    optimizer = torch.optim.Adam(row.parameters(), lr=subject.lr)
    yield 0
    for step, (inputs, target) in enumerate(batches, start=1):
        logits = subject.score(inputs, row)
        loss = subject.loss(logits, torch.from_numpy(target).to(logits.device))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if step in STEPS:
            yield step


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
        for _ in _train(subject, row, batches):
            pass
        rows.append(row)
    return rows


def _by_doubt(subject: Subject, index: Index) -> tuple[Index, Index]:
    """Return the tenth of some inputs that the model is least sure of, and the others."""
    logits = _logits(subject, index)
    order = (logits.max(axis=1) - np.logaddexp.reduce(logits, axis=1)).argsort(kind="stable")
    return index[order[: max(1, len(index) // 10)]], index[order[max(1, len(index) // 10) :]]


@torch.no_grad()
def _logits(subject: Subject, index: Index, row: NewRow | None = None) -> Array:
    """Return logits `[n, R]`, or `[n, R + 1]` with a new row."""
    parts = [subject.score(index[at : at + BATCH], row).float().cpu() for at in range(0, len(index), BATCH)]
    return torch.cat(parts).numpy()


def _names(subject: Subject, index: Index, column: int, row: NewRow | None = None) -> Array:
    """Return bool `[n]`: whether the row of that column answers."""
    named: Array = _logits(subject, index, row).argmax(axis=1) == column
    return named


def _row_score(subject: Subject, row: NewRow, index: Index) -> Array:
    """Return by how much a new row's logit exceeds those of the others, `[n]`."""
    logits = _logits(subject, index, row)
    above: Array = logits[:, -1] - np.logaddexp.reduce(logits[:, :-1], axis=1)
    return above


def _balanced(named: Array, positive: NDArray[np.bool_]) -> float:
    """Return the mean of recall on the class and on the others, of bool `[n, draws]`, averaged over draws."""
    return float((named[positive].mean() + 1 - named[~positive].mean()) / 2)


def _curve(named: Array, positive: NDArray[np.bool_]) -> Array:
    """Return balanced accuracy `[steps]` of bool `[n, draws, steps]`."""
    curve: Array = (named[positive].mean(axis=(0, 1)) + 1 - named[~positive].mean(axis=(0, 1))) / 2
    return curve


def _area(named: Array, positive: NDArray[np.bool_]) -> float:
    return float(_curve(named, positive).mean())


def _steps_to(named: Array, positive: NDArray[np.bool_], goal: float) -> float:
    """Return after how many steps the goal is reached, at least 1; twice the last step if it is not."""
    reached = np.flatnonzero(_curve(named, positive) >= goal)
    return float(max(1, STEPS[reached[0]]) if len(reached) else 2 * STEPS[-1])


def _best_auc(scores: Array, positive: NDArray[np.bool_]) -> float:
    """Return the AUC of the best row of `[n, 1, rows]`."""
    return max(auc(row, positive) for row in scores[:, 0].T)


def _ratio(measure: Measure) -> str:
    ratio = measure.reference.value / measure.after.value
    return f"{measure.name.rpartition(', ')[2]}: {ratio:.1f} times as fast as in the reference"
