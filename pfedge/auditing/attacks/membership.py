"""Membership inference: which inputs of the forgotten class the model was trained on."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from pfedge.auditing.attacks.outputs import MIN_INPUTS, MIN_ROWS, MODELS, ONE_ROW, Array, ModelOutputs, OutputsByModel
from pfedge.auditing.statistics import (
    Attack,
    BeforeAfterReference,
    Skipped,
    compare,
    lira_offline,
    lira_online,
    loss_threshold,
    phi,
    rmia,
    roc_curve,
    tpr_at_fpr,
)
from pfedge.data import TEST, TRAIN, VAL
from pfedge.guarantees import Index, Shadows
from pfedge.ranking import auc

RATES = (0.01, 0.001)
FIXED_VARIANCE_BELOW = 64  # Carlini et al.: with fewer shadow models, one variance for all inputs


def membership(outputs: OutputsByModel, shadows: Shadows | None, why_not: str, *, seed: int) -> Attack:
    """Infer which inputs of the forgotten class were trained on.

    A model that has the class is asked for the probability it gives to it, one that has not for that of the class that
    it, or on average the shadow models, find most probable. Members are the class's training inputs, non-members its
    validation and test inputs; the reference saw neither, so what it shows is how far the splits differ by themselves.

    Args:
        outputs: what the models say.
        shadows: what shadow models say of the inputs outputs; None where there are none.
        why_not: the reason, then.
        seed: of the bootstrap.
    """
    inside, outside = outputs.places(TRAIN, own=True), outputs.places((VAL, TEST), own=True)
    places = np.concatenate([inside, outside])
    attack = partial(
        Attack,
        key="membership",
        title="Membership inference",
        question="Can one tell which inputs of the forgotten class the model was trained on?",
    )
    if len(outputs.after.bank) < MIN_ROWS:
        return attack(measures=(), skipped=(ONE_ROW,))
    if min(len(inside), len(outside)) < MIN_INPUTS:
        reason = f"it needs {MIN_INPUTS} inputs of the class trained on and {MIN_INPUTS} others, "
        return attack(measures=(), skipped=(Skipped("all", f"{reason}has {len(inside)} and {len(outside)}"),))
    strata = np.repeat([0, 1], [len(inside), len(outside)])
    scores = {"loss threshold": outputs.of_each(lambda model: loss_threshold(_own_phi(outputs, model)[places]))}
    scores["energy threshold"] = outputs.of_each(lambda model: np.logaddexp.reduce(model.logits[places], axis=1))
    skipped = []
    if shadows is None:
        skipped = [Skipped(name, why_not) for name in ("RMIA", "online LiRA", "offline LiRA")]
    else:
        scores |= _with_shadows(outputs, shadows, places)
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


def _with_shadows(outputs: OutputsByModel, shadows: Shadows, places: Index) -> dict[str, BeforeAfterReference]:
    """Return the scores of RMIA and LiRA of the inputs at `places`."""
    others = outputs.places(TEST, own=False)
    member, fixed = shadows.member[:, places], len(shadows.member) < FIXED_VARIANCE_BELOW
    found: dict[str, list[Array]] = {"RMIA": [], "online LiRA": [], "offline LiRA": []}
    for model in (outputs.before, outputs.after, outputs.reference, *outputs.more):
        own = outputs.forgotten in model.bank.class_ids
        logits = shadows.before if own else shadows.after
        ids = np.array([c for c in shadows.class_ids if own or c != outputs.forgotten])
        column = _asked_column(outputs, ids, logits.mean(axis=0))
        target = phi(model.logits, column)
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
    return {name: BeforeAfterReference.of(*scores) for name, scores in found.items()}


def _own_phi(outputs: OutputsByModel, model: ModelOutputs) -> Array:
    """Return `phi` of the class asked about: the input's own where it has a row, else the one it is given."""
    return phi(model.logits, _asked_column(outputs, model.class_ids, model.logits))


def _asked_column(outputs: OutputsByModel, ids: NDArray[np.int64], logits: Array) -> Index:
    """Return, by input, the column of its own class where there is one, else that of the largest logit."""
    labels = outputs.pool.labels[outputs.index]
    own = np.searchsorted(ids, labels).clip(max=len(ids) - 1)
    asked: Index = np.where(ids[own] == labels, own, logits.argmax(axis=1))
    return asked


def _auc(scores: Array, positive: NDArray[np.bool_]) -> float:
    return auc(scores[:, 0], positive)


def _tpr(scores: Array, positive: NDArray[np.bool_], rate: float) -> float:
    return tpr_at_fpr(scores[:, 0], positive, rate)
