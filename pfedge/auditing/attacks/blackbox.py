"""Attacks on what a deployed model says: its graph, on ONNX Runtime, with the rows that are left.

    said = listen(bundle.graph_path, bank, pool, index)
    attack = membership(trio, ...)

The three models are heard by one engine each, on the same inputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pfedge.auditing.statistics.measure import Attack, Skipped, Trio, compare
from pfedge.auditing.statistics.membership import lira_offline, lira_online, loss_threshold, phi, rmia
from pfedge.auditing.statistics.roc import auc, roc_curve, tpr_at_fpr
from pfedge.data import TEST, TRAIN, VAL, Pool
from pfedge.guarantees import Index, Shadows
from pfedge_runtime.bank import Bank, decide, softmax
from pfedge_runtime.engines import OnnxRuntimeEngine

BATCH = 32
FOLDS = 5
RATES = (0.01, 0.001)
MIN_INPUTS = 20
MIN_ROWS = 2
ONE_ROW = Skipped("all", "one row is left, and its probability is 1 whatever the input")
FIXED_VARIANCE_BELOW = 64  # Carlini et al.: with fewer shadow models, one variance for all inputs
MODELS = ("before", "after", "reference")

Array = NDArray[Any]


@dataclass(frozen=True)
class Said:
    """What a model says of n inputs.

    Attributes:
        bank: the rows it has.
        logits: float32 `[n, R]`.
        embedding: float32 `[n, E]`, where the graph gives one.
    """

    bank: Bank
    logits: NDArray[np.float32]
    embedding: NDArray[np.float32] | None

    @property
    def class_ids(self) -> NDArray[np.int64]:
        """The classes of the rows."""
        return np.array(self.bank.class_ids)


@dataclass(frozen=True)
class Heard:
    """What the models say of the same inputs.

    Attributes:
        forgotten: the class id.
        pool: where the inputs are from.
        index: int64 `[n]`, which of them.
        before: before forgetting.
        after: after forgetting.
        reference: of the model trained without the class.
        more: of further references, of other seeds.
    """

    forgotten: int
    pool: Pool
    index: Index
    before: Said
    after: Said
    reference: Said
    more: tuple[Said, ...] = ()

    def places(self, parts: int | Sequence[int], *, own: bool) -> Index:
        """Return positions in `index` of inputs of some splits, of the forgotten class or of the others."""
        pool = self.pool
        here = np.isin(pool.part[self.index], parts) & ((pool.labels[self.index] == self.forgotten) == own)
        return np.flatnonzero(here)

    def trio(self, compute: Callable[[Said], Array]) -> Trio:
        """Return a quantity `[n, ...]` of all."""
        return Trio.of(*(compute(said) for said in (self.before, self.after, self.reference, *self.more)))


def listen(graph: Path, bank: Bank, pool: Pool, index: Index, tick: Callable[[int], None] = lambda _: None) -> Said:
    """Ask a deployed graph about some inputs of the pool."""
    engine = OnnxRuntimeEngine(graph, threads=torch.get_num_threads())
    parts = []
    for start in range(0, len(index), BATCH):
        parts.append(engine.run(pool.inputs[index[start : start + BATCH]], bank))
        tick(len(parts[-1].logits))
    embedding = [part.embedding for part in parts if part.embedding is not None]
    return Said(bank, np.concatenate([part.logits for part in parts]), np.concatenate(embedding) if embedding else None)


def inputs_to_ask(pool: Pool, forgotten: int, class_ids: Sequence[int]) -> Index:
    """Return what the black-box attacks ask about: all of the class, and the others' test inputs."""
    others = [class_id for class_id in class_ids if class_id != forgotten]
    return np.concatenate([pool.find((TRAIN, VAL, TEST), [forgotten]), pool.find(TEST, others)])


def utility(heard: Heard, names: Sequence[str], *, seed: int) -> Attack:
    """Return how well the others are recognised, and what becomes of the forgotten class's inputs."""
    own, others = heard.places(TEST, own=True), heard.places(TEST, own=False)
    labels = heard.pool.labels[heard.index]

    def named(said: Said) -> Array:
        """Return bool `[n, 2]`: is the best row the input's own, is the input abstained on."""
        decisions = decide(said.bank, said.logits, said.embedding)
        return np.stack([said.class_ids[decisions.winner] == labels, ~decisions.accepted], axis=1)

    both = heard.trio(named)
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
            "classes": _by_class(heard, both, names),
            "landing": _landing(heard, own, names),
        },
    )


def membership(heard: Heard, shadows: Shadows | None, why_not: str, *, seed: int) -> Attack:
    """Infer which inputs of the forgotten class were trained on.

    A model that has the class is asked for the probability it gives to it, one that has not for that of the class that
    it, or on average the shadow models, find most probable. Members are the class's training inputs, non-members its
    validation and test inputs; the reference saw neither, so what it shows is how far the splits differ by themselves.

    Args:
        heard: what the models say.
        shadows: what shadow models say of the inputs heard; None where there are none.
        why_not: the reason, then.
        seed: of the bootstrap.
    """
    inside, outside = heard.places(TRAIN, own=True), heard.places((VAL, TEST), own=True)
    places = np.concatenate([inside, outside])
    attack = partial(
        Attack,
        key="membership",
        title="Membership inference",
        question="Can one tell which inputs of the forgotten class the model was trained on?",
    )
    if len(heard.after.bank) < MIN_ROWS:
        return attack(measures=(), skipped=(ONE_ROW,))
    if min(len(inside), len(outside)) < MIN_INPUTS:
        reason = f"it needs {MIN_INPUTS} inputs of the class trained on and {MIN_INPUTS} others, "
        return attack(measures=(), skipped=(Skipped("all", f"{reason}has {len(inside)} and {len(outside)}"),))
    strata = np.repeat([0, 1], [len(inside), len(outside)])
    scores = {"loss threshold": heard.trio(lambda said: loss_threshold(_own_phi(heard, said)[places]))}
    scores["energy threshold"] = heard.trio(lambda said: np.logaddexp.reduce(said.logits[places], axis=1))
    skipped = []
    if shadows is None:
        skipped = [Skipped(name, why_not) for name in ("RMIA", "online LiRA", "offline LiRA")]
    else:
        scores |= _with_shadows(heard, shadows, places)
    measures, curves = [], {}
    positive = strata == 0
    for name, trio in scores.items():
        columns = trio.map(lambda scores: scores[:, None])
        measures.append(compare(f"AUC, {name}", partial(_auc, positive=positive), columns, strata, seed=seed))
        for rate in RATES:
            what = f"TPR at {rate:.1%} FPR, {name}"
            if len(outside) * rate < 1:
                reason = (
                    f"{len(outside)} non-members cannot show a rate of {rate:.1%}: more data, or a larger --limit, can"
                )
                skipped.append(Skipped(what, reason))
            else:
                measures.append(compare(what, partial(_tpr, positive=positive, rate=rate), columns, strata, seed=seed))
        curves[name] = {
            model: dict(zip(("fpr", "tpr"), roc_curve(getattr(trio, model), positive), strict=True)) for model in MODELS
        }
    notes = [f"{len(inside)} members, {len(outside)} non-members of the class."]
    if shadows is not None:
        notes.append(
            f"{len(shadows.member)} shadow models, each on half of the audit's inputs of every class, held-out ones "
            "among them: fewer than the model was trained on, which makes these attacks milder. RMIA's population are "
            "the test inputs of the other classes, each of which half of the shadow models have seen."
        )
    return attack(measures=tuple(measures), skipped=tuple(skipped), notes=tuple(notes), data={"roc": curves})


def neighbour(heard: Heard, *, seed: int) -> Attack:
    """Ask whether the distribution over the remaining classes singles out inputs of the forgotten one."""
    own, others = heard.places((VAL, TEST), own=True), heard.places(TEST, own=False)
    attack = partial(
        Attack,
        key="neighbour",
        title="Neighbour leak",
        question="Do the probabilities of the remaining classes give an input of the forgotten one away?",
    )
    if len(heard.after.bank) < MIN_ROWS:
        return attack(measures=(), skipped=(ONE_ROW,))
    if min(len(own), len(others)) < MIN_INPUTS:
        reason = f"it needs {MIN_INPUTS} held-out inputs of the class and of others, has {len(own)} and {len(others)}"
        return attack(measures=(), skipped=(Skipped("all", reason),))
    places, strata = np.concatenate([own, others]), np.repeat([0, 1], [len(own), len(others)])
    learned = heard.trio(lambda said: singled_out(said.logits[places], strata == 0, seed)[:, None])
    unsure = heard.trio(lambda said: -softmax(said.logits[places]).max(axis=1)[:, None])
    area = partial(_auc, positive=strata == 0)
    return attack(
        measures=(
            compare("AUC, learned from all probabilities", area, learned, strata, seed=seed),
            compare("AUC, lack of confidence alone", area, unsure, strata, seed=seed),
        ),
        notes=(
            f"{len(own)} held-out inputs of the class against {len(others)} of the others.",
            f"Learned is a logistic regression on log-probabilities, in {FOLDS} folds, from labelled inputs of both.",
        ),
    )


def _with_shadows(heard: Heard, shadows: Shadows, places: Index) -> dict[str, Trio]:
    """Return the scores of RMIA and LiRA of the inputs at `places`."""
    others = heard.places(TEST, own=False)
    member, fixed = shadows.member[:, places], len(shadows.member) < FIXED_VARIANCE_BELOW
    found: dict[str, list[Array]] = {"RMIA": [], "online LiRA": [], "offline LiRA": []}
    for said in (heard.before, heard.after, heard.reference, *heard.more):
        own = heard.forgotten in said.bank.class_ids
        logits = shadows.before if own else shadows.after
        ids = np.array([c for c in shadows.class_ids if own or c != heard.forgotten])
        column = _asked_column(heard, ids, logits.mean(axis=0))
        target = phi(said.logits, column)
        shadow = np.stack([phi(one, column) for one in logits])
        found["RMIA"].append(
            rmia(
                np.exp(loss_threshold(target[places])),
                np.exp(loss_threshold(target[others])),
                np.exp(loss_threshold(shadow[:, places])),
                np.exp(loss_threshold(shadow[:, others])),
                member,
            )
        )
        found["online LiRA"].append(lira_online(target[places], shadow[:, places], member, fixed_variance=fixed))
        found["offline LiRA"].append(lira_offline(target[places], shadow[:, places], member, fixed_variance=fixed))
    return {name: Trio.of(*scores) for name, scores in found.items()}


def _own_phi(heard: Heard, said: Said) -> Array:
    """Return `phi` of the class asked about: the input's own where it has a row, else the one it is given."""
    return phi(said.logits, _asked_column(heard, said.class_ids, said.logits))


def _asked_column(heard: Heard, ids: NDArray[np.int64], logits: Array) -> Index:
    """Return, by input, the column of its own class where there is one, else that of the largest logit."""
    labels = heard.pool.labels[heard.index]
    own = np.searchsorted(ids, labels).clip(max=len(ids) - 1)
    asked: Index = np.where(ids[own] == labels, own, logits.argmax(axis=1))
    return asked


def singled_out(logits: NDArray[np.float32], positive: NDArray[np.bool_], seed: int) -> Array:
    """Return out-of-fold scores of a logistic regression that tells the forgotten class from the others."""
    features = np.log(softmax(logits) + 1e-12)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    scores = np.zeros(len(positive))
    for train, test in folds.split(features, positive):
        model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
        scores[test] = model.fit(features[train], positive[train]).decision_function(features[test])
    return scores


def _auc(scores: Array, positive: NDArray[np.bool_]) -> float:
    return auc(scores[:, 0], positive)


def _tpr(scores: Array, positive: NDArray[np.bool_], rate: float) -> float:
    return tpr_at_fpr(scores[:, 0], positive, rate)


def _mean(values: Array) -> float:
    return float(values.mean())


def _of(trio: Trio, places: Index, column: int) -> Trio:
    """Return one column `[n, 1]` of `[N, columns]`, of some inputs."""
    return trio.map(lambda values: values[places, column, None])


def _by_class(heard: Heard, named: Trio, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return accuracy on the test inputs of each class, None where it has no row."""
    lines = []
    labels, test = heard.pool.labels[heard.index], heard.pool.part[heard.index] == TEST
    for class_id in np.unique(labels):
        own = test & (labels == class_id)
        line: dict[str, Any] = {"id": int(class_id), "name": names[class_id], "inputs": int(own.sum())}
        for model in MODELS:
            has_row = class_id in getattr(heard, model).bank.class_ids
            line[model] = float(getattr(named, model)[own, 0].mean()) if has_row and own.any() else None
        lines.append(line)
    return lines


def _landing(heard: Heard, own: Index, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what share of the forgotten class's inputs each model calls what."""
    shares: dict[str, dict[str, float]] = {}
    for model in MODELS:
        said: Said = getattr(heard, model)
        part = Said(said.bank, said.logits[own], None if said.embedding is None else said.embedding[own])
        decisions = decide(part.bank, part.logits, part.embedding)
        answers = [
            names[said.class_ids[winner]] if accepted else "abstained"
            for winner, accepted in zip(decisions.winner, decisions.accepted, strict=True)
        ]
        shares[model] = {answer: count / len(answers) for answer, count in Counter(answers).items()}
    known = sorted({answer for of_model in shares.values() for answer in of_model})
    return [{"name": answer, **{model: shares[model].get(answer, 0.0) for model in MODELS}} for answer in known]
