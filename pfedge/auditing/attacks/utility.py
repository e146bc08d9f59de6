"""Utility: how well the other classes are recognised, and what becomes of inputs of the forgotten one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from pfedge.auditing.attacks.outputs import MIN_INPUTS, MODELS, Array, ModelOutputs, OutputsByModel
from pfedge.auditing.statistics import Attack, BeforeAfterReference, Skipped, compare
from pfedge.data import TEST
from pfedge.guarantees import Index
from pfedge_runtime.bank import decide


def utility(outputs: OutputsByModel, names: Sequence[str], *, seed: int) -> Attack:
    """Return how well the others are recognised, and what becomes of the forgotten class's inputs."""
    own, others = outputs.places(TEST, own=True), outputs.places(TEST, own=False)
    labels = outputs.pool.labels[outputs.index]

    def named(model: ModelOutputs) -> Array:
        """Return bool `[n, 2]`: is the best row the input's own, is the input abstained on."""
        decisions = decide(model.bank, model.logits, model.embedding)
        return np.stack([model.class_ids[decisions.winner] == labels, ~decisions.accepted], axis=1)

    both = outputs.of_each(named)
    asked = (
        ("accuracy on the other classes", others, 0, True),
        ("share named as the forgotten class", own, 0, True),
        ("share of it abstained on", own, 1, False),
    )
    measures = [
        compare(name, _mean, _of(both, places, column), np.zeros(len(places), dtype=np.int64), seed=seed, judged=judged)
        for name, places, column, judged in asked
        if len(places) >= MIN_INPUTS
    ]
    skipped = tuple(
        Skipped(name, f"it needs {MIN_INPUTS} test inputs, there are {len(places)}")
        for name, places, *_ in asked
        if len(places) < MIN_INPUTS
    )
    return Attack(
        key="utility",
        title="Utility",
        question="Are the other classes recognised as well, and what is said of inputs of the forgotten one?",
        measures=tuple(measures),
        skipped=skipped,
        notes=("Test inputs; the best row's class, whether or not the input is abstained on.",),
        data={
            "classes": _by_class(outputs, both, names),
            "landing": _landing(outputs, own, names),
        },
    )


def _mean(values: Array) -> float:
    return float(values.mean())


def _of(trio: BeforeAfterReference, places: Index, column: int) -> BeforeAfterReference:
    """Return one column `[n, 1]` of `[N, columns]`, of some inputs."""
    return trio.map(lambda values: values[places, column, None])


def _by_class(outputs: OutputsByModel, named: BeforeAfterReference, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return accuracy on the test inputs of each class, None where it has no row."""
    lines = []
    labels, test = outputs.pool.labels[outputs.index], outputs.pool.part[outputs.index] == TEST
    for class_id in np.unique(labels):
        own = test & (labels == class_id)
        line: dict[str, Any] = {"id": int(class_id), "name": names[class_id], "inputs": int(own.sum())}
        for model in MODELS:
            has_row = class_id in getattr(outputs, model).bank.class_ids
            line[model] = float(getattr(named, model)[own, 0].mean()) if has_row and own.any() else None
        lines.append(line)
    return lines


def _landing(outputs: OutputsByModel, own: Index, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what share of the forgotten class's inputs each model calls what."""
    shares: dict[str, dict[str, float]] = {}
    for name in MODELS:
        model: ModelOutputs = getattr(outputs, name)
        part = ModelOutputs(model.bank, model.logits[own], None if model.embedding is None else model.embedding[own])
        decisions = decide(part.bank, part.logits, part.embedding)
        answers = [
            names[model.class_ids[winner]] if accepted else "abstained"
            for winner, accepted in zip(decisions.winner, decisions.accepted, strict=True)
        ]
        shares[name] = {answer: count / len(answers) for answer, count in Counter(answers).items()}
    known = sorted({answer for of_model in shares.values() for answer in of_model})
    return [{"name": answer, **{model: shares[model].get(answer, 0.0) for model in MODELS}} for answer in known]
