"""What a model makes of inputs: how few labelled ones recover the class, and how it differs from the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_samples
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pfedge.auditing.attacks.subjects import MODELS, OTHERS, Subjects
from pfedge.auditing.statistics import Attack, BeforeAfterReference, Measure, Skipped, compare, from_draws
from pfedge.guarantees import Features

SHOTS = (5, 20, 100)
PROBE_DRAWS = 10
CKA_DRAWS = 200

Array = NDArray[Any]
Tick = Callable[[], None]


def representation(subjects: Subjects, tick: Tick = lambda: None) -> Attack:
    """Probe what the model makes of inputs: how few labelled ones recover the class, and how it differs."""
    attack = partial(
        Attack,
        key="representation",
        title="Representation",
        question="How many labelled inputs does it take to recognise the class by the model's features again?",
    )
    if reason := subjects.lacking(min(SHOTS)):
        return attack(measures=(), skipped=(Skipped("all", reason),))
    members, held_out = subjects.members(), subjects.held_out()
    others, test = subjects.train_of_others(OTHERS), subjects.test_of_others(len(subjects.pool))
    index = np.concatenate([members, others, held_out, test])
    sizes = np.cumsum([len(members), len(others), len(held_out)])
    strata = np.repeat([0, 1], [len(held_out), len(test)])
    features = {}
    for model, subject in subjects.models().items():
        features[model] = subject.representations(index)
        tick()
    measures: list[Measure] = []
    skipped, recovery = [], {}
    for name in features["after"]:
        parts = {model: np.split(found[name], sizes) for model, found in features.items()}
        curve: dict[str, list[Any]] = {"shots": [], **{model: [] for model in MODELS}}
        for shots in SHOTS:
            what = f"recovery F1, {name}, {shots} shots"
            if shots > len(members):
                skipped.append(Skipped(what, f"there are {len(members)} training inputs of the class"))
                continue
            named = BeforeAfterReference.of(*(probe(part, shots, subjects.seed) for part in parts.values()))
            recovered = partial(f1, positive=strata == 0)
            measures.append(compare(what, recovered, named, strata, seed=subjects.seed))
            curve["shots"].append(shots)
            for model in MODELS:
                curve[model].append(recovered(getattr(named, model)))
            tick()
        recovery[name] = curve
        apart = BeforeAfterReference.of(*(_silhouette(*part[2:]) for part in parts.values()))
        where = np.zeros(len(held_out), dtype=np.int64)
        measures.append(compare(f"separability (silhouette), {name}", _mean, apart, where, seed=subjects.seed))
        alike = [features[model][name][sizes[1] : sizes[2]] for model in MODELS]
        measures.append(_cka_measure(f"CKA with the reference, inputs of the class, {name}", alike, subjects.seed))
        tick()
    return attack(
        measures=tuple(measures),
        skipped=tuple(skipped),
        notes=(
            (
                "A logistic regression tells the class from the others, learned from 5, 20 or 100 of its training "
                f"inputs ({PROBE_DRAWS} draws) and {len(others)} of the others; F1 on {len(held_out)} held-out inputs "
                f"of the class and {len(test)} of the others. CKA: Kornblith et al. 2019, arXiv 1905.00414, linear."
            ),
        ),
        data={"recovery": recovery},
    )


def probe(parts: Sequence[Features], shots: int, seed: int) -> Array:
    """Return bool `[n, draws]`: whom a linear probe takes for the class.

    Args:
        parts: features of members of the class, of others to learn from, and of held-out inputs of the class and of
            others, which are asked about in that order.
        shots: how many of the members it learns from.
        seed: of the draws.
    """
    members, others, held_out, test = parts
    asked, named = np.concatenate([held_out, test]), []
    with threadpool_limits(1):  # many small fits: threads within one only wait for each other
        for draw in range(PROBE_DRAWS):
            chosen = np.random.default_rng((seed, shots, draw)).choice(len(members), size=shots, replace=False)
            model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
            known = np.concatenate([members[chosen], others])
            named.append(model.fit(known, np.arange(len(known)) < shots).predict(asked))
    return np.stack(named, axis=1)


def f1(named: Array, positive: NDArray[np.bool_]) -> float:
    """Return F1 of the class, averaged over draws, of bool `[n, draws]`."""
    hits, false = named[positive].sum(axis=0), named[~positive].sum(axis=0)
    return float((2 * hits / (hits + false + positive.sum())).mean())


def _silhouette(held_out: Features, test: Features) -> Array:
    """Return the silhouette coefficient of each input of the class against the others, `[n, 1]`."""
    features = StandardScaler().fit_transform(np.concatenate([held_out, test]))
    labels = np.arange(len(features)) < len(held_out)
    return np.array(silhouette_samples(features, labels)[: len(held_out), None])


def cka(left: Array, right: Array) -> float:
    """Return linear CKA of two representations `[n, F]`, `[n, G]` of the same inputs (Kornblith et al. 2019)."""
    first, second = (_centred_gram(features) for features in (left, right))
    return _alignment(first, second)


def _centred_gram(features: Array) -> Array:
    centred = features - features.mean(axis=0)
    gram: Array = centred @ centred.T
    return gram


def _alignment(first: Array, second: Array) -> float:
    return float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()))


def _cka_measure(name: str, features: list[Features], seed: int) -> Measure:
    """Return CKA of each model with the reference; information, as the reference with itself is 1."""
    rng, count = np.random.default_rng(seed), len(features[0])
    drawn = []
    for _ in range(CKA_DRAWS):
        index = rng.integers(count, size=count)
        drawn.append([cka(one[index], features[-1][index]) for one in features])
    values = np.array([cka(one, features[-1]) for one in features])
    return from_draws(name, values, np.array(drawn), before=True, judged=False)


def _mean(values: Array) -> float:
    return float(values.mean())
