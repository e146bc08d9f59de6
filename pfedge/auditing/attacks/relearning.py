"""Relearning: a new row for the forgotten class, trained from a few of its inputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from pfedge.auditing.attacks.new_rows import NEGATIVES, POSITIVES, STEPS, Array, named_by, train_row
from pfedge.auditing.attacks.subjects import MODELS, OTHERS, Subjects
from pfedge.auditing.statistics import Attack, BeforeAfterReference, Measure, Skipped, compare
from pfedge.guarantees import Index, Subject

RELEARN_SHOTS = (5, 20)
RELEARN_DRAWS = 3
TARGET = 0.8  # of what the class's own row had above chance

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
    recognised = named_by(subjects.before, index, subjects.before.class_ids.index(subjects.forgotten))
    goal = 0.5 + TARGET * (_balanced(recognised[:, None], positive=strata == 0) - 0.5)
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
        named = BeforeAfterReference.of(None, *(np.stack(run, axis=1) for run in runs))
        measures += _measures(named, strata, goal, shots, subjects.seed)
        positive = strata == 0
        curve = named.map(partial(_curve, positive=positive))
        lines = {model: [float(value) for value in getattr(curve, model)] for model in MODELS[1:]}
        lines["before"] = [_balanced(recognised[:, None], positive=positive)] * len(STEPS)
        curves.append({"shots": shots, "steps": list(STEPS), **lines})
    never = 2 * STEPS[-1]
    notes = [
        (
            f"Balanced accuracy is the mean of recall on the class and on the others ({len(held_out)} and {len(test)} "
            f"held-out inputs): a row that answers with the class to everything has 0.5. {RELEARN_DRAWS} draws. Before "
            f"forgetting, the class's own row has {_balanced(recognised[:, None], positive=strata == 0):.3f}."
        ),
        f"A goal that is not reached in {STEPS[-1]} steps counts as {never} steps. "
        + "; ".join(_ratio(measure) for measure in measures if measure.name.startswith("steps"))
        + ".",
    ]
    if not subjects.after.learns_by_steps:
        notes.append("Nothing is learned by gradient here: a row is summed up at once, which counts as one step.")
    return attack(measures=tuple(measures), skipped=tuple(skipped), notes=tuple(notes), data={"curves": curves})


def _measures(
    named: BeforeAfterReference, strata: NDArray[np.int64], goal: float, shots: int, seed: int
) -> list[Measure]:
    """Return what is measured of rows learned from some shots, of bool `[n, draws, steps]`."""
    measure = partial(compare, strata=strata, seed=seed)
    positive = strata == 0
    last = named.map(lambda values: values[:, :, -1])
    return [
        measure(f"mean balanced accuracy over the steps, {shots} shots", partial(_area, positive=positive), named),
        measure(
            f"balanced accuracy after {STEPS[-1]} steps, {shots} shots", partial(_balanced, positive=positive), last
        ),
        measure(
            f"steps to a balanced accuracy of {goal:.2f}, {shots} shots",
            partial(_steps_to, positive=positive, goal=goal),
            named,
            judged=False,
        ),
    ]


def _relearn(subject: Subject, subjects: Subjects, shots: int, draw: int, index: Index) -> Array:
    """Return bool `[n, steps]`: which inputs a row learned from `shots` members answers to, as it learns."""
    rng = np.random.default_rng((subjects.seed, shots, draw))
    members = rng.choice(subjects.members(), size=shots, replace=False)
    if subjects.forgotten in subject.class_ids:  # nothing was forgotten: there is nothing to learn
        known = named_by(subject, index, subject.class_ids.index(subjects.forgotten))
        return np.stack([known] * len(STEPS), axis=1)
    column = len(subject.class_ids)
    if not subject.learns_by_steps:
        found = subject.relearned(subjects.forgotten, members, index).argmax(dim=1).numpy() == column
        return np.stack([np.zeros_like(found), *[found] * (len(STEPS) - 1)], axis=1)
    row = subject.fresh_row(torch.Generator().manual_seed(int(rng.integers(2**31))))
    batches = _batches(subject, subjects, members, rng)
    return np.stack([named_by(subject, index, column, row) for _ in train_row(subject, row, batches)], axis=1)


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


def _ratio(measure: Measure) -> str:
    ratio = measure.reference.value / measure.after.value
    return f"{measure.name.rpartition(', ')[2]}: {ratio:.1f} times as fast as in the reference"
