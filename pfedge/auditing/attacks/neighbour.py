"""Neighbour leak: whether the probabilities of the remaining classes give the forgotten one away."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pfedge.auditing.attacks.outputs import MIN_INPUTS, MIN_ROWS, ONE_ROW, Array, OutputsByModel
from pfedge.auditing.statistics import Attack, Skipped, compare
from pfedge.data import TEST, VAL
from pfedge.ranking import auc
from pfedge_runtime.bank import softmax

FOLDS = 5


def neighbour(outputs: OutputsByModel, *, seed: int) -> Attack:
    """Ask whether the distribution over the remaining classes singles out inputs of the forgotten one."""
    own, others = outputs.places((VAL, TEST), own=True), outputs.places(TEST, own=False)
    attack = partial(
        Attack,
        key="neighbour",
        title="Neighbour leak",
        question="Do the probabilities of the remaining classes give an input of the forgotten one away?",
    )
    if len(outputs.after.bank) < MIN_ROWS:
        return attack(measures=(), skipped=(ONE_ROW,))
    if min(len(own), len(others)) < MIN_INPUTS:
        reason = f"it needs {MIN_INPUTS} held-out inputs of the class and of others, has {len(own)} and {len(others)}"
        return attack(measures=(), skipped=(Skipped("all", reason),))
    places, strata = np.concatenate([own, others]), np.repeat([0, 1], [len(own), len(others)])
    learned = outputs.of_each(lambda model: singled_out(model.logits[places], strata == 0, seed)[:, None])
    unsure = outputs.of_each(lambda model: -softmax(model.logits[places]).max(axis=1)[:, None])
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
