"""How well a score tells positives from negatives.

tpr_at_fpr(scores, member, 0.01), auc(scores, member)

Only the order of the scores counts, so they may be of any unit, and infinite. A score is positive from a threshold on;
equal scores stand on one side of any threshold together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

POINTS = 200


def auc(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve: how often a positive scores above a negative, ties counting half.

    This is Mann and Whitney's U over the number of pairs (1947). It equals scikit-learn's `roc_auc_score`, which is
    not used here because it refuses infinite scores, and checks its arguments for longer than it computes: one audit
    draws tens of thousands of bootstrap samples of some hundred scores each, and takes 0.06 ms here for what takes
    milliseconds there.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.875

    Args:
        scores: `[N]`, higher is more likely positive.
        positive: bool `[N]`.

    Raises:
        ValueError: there is no positive or no negative, a score is no number, or shapes differ.
    """
    _require_both(scores, positive)
    negatives = np.sort(scores[~positive])
    positives = np.sort(scores[positive])  # sorted needles are found faster
    below = np.searchsorted(negatives, positives, side="left").sum()
    not_above = np.searchsorted(negatives, positives, side="right").sum()
    return float((below + not_above) / (2 * len(positives) * len(negatives)))


def tpr_at_fpr(scores: NDArray[Any], positive: NDArray[np.bool_], fpr: float) -> float:
    """Return the largest true positive rate of a threshold whose false positive rate is at most `fpr`.

    Nothing is interpolated: with 50 negatives, the rate at 1 % is that at 0 (Carlini et al. 2022, arXiv 2112.03570,
    report attacks so).

    >>> tpr_at_fpr(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]), 0.1)
    0.5

    Args:
        scores: `[N]`, higher is more likely positive.
        positive: bool `[N]`.
        fpr: from 0 to 1.

    Raises:
        ValueError: as `auc`, or `fpr` is no rate.
    """
    if not 0 <= fpr <= 1:
        msg = f"a false positive rate is from 0 to 1, not {fpr}"
        raise ValueError(msg)
    false, true = _counts(scores, positive)
    # a quotient is rounded as `fpr` was when it was written down; a product with it would be rounded once more
    allowed = np.searchsorted(false / false[-1], fpr, side="right") - 1
    return float(true[allowed] / true[-1])


def roc_curve(scores: NDArray[Any], positive: NDArray[np.bool_]) -> tuple[list[float], list[float]]:
    """Return false and true positive rates from (0, 0) to (1, 1), as JSON values, to be joined by straight lines.

    Points within a straight line are left out. What is left are corners; of more than 200, those are kept that cut the
    curve into equal lengths, and those that stand at equal ratios of false positive rates: such curves are looked at
    on a logarithmic axis too (Carlini et al. 2022).

    Args:
        scores: `[N]`, higher is more likely positive.
        positive: bool `[N]`.

    Raises:
        ValueError: as `auc`.
    """
    false, true = _counts(scores, positive)
    turns = np.diff(false[:-1]) * np.diff(true[1:]) != np.diff(true[:-1]) * np.diff(false[1:])
    corners = np.concatenate(([0], np.flatnonzero(turns) + 1, [len(false) - 1]))
    x, y = false[corners] / false[-1], true[corners] / true[-1]
    if len(corners) > POINTS:
        length = np.linspace(0, 2, POINTS // 2)
        ratio = np.geomspace(1 / false[-1], 1, POINTS // 2)
        kept = np.union1d(np.searchsorted(x + y, length), np.searchsorted(x, ratio, side="right") - 1)
        x, y = x[kept], y[kept]
    return x.tolist(), y.tolist()


def _counts(scores: NDArray[Any], positive: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return false and true positives, int64 `[T + 1]`, at no threshold and at each of T distinct scores, falling."""
    _require_both(scores, positive)
    order = np.argsort(scores)[::-1]
    ordered = scores[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)  # of each run of equal scores
    true = np.concatenate(([0], np.cumsum(positive[order])[last]))
    return np.concatenate(([0], last + 1)) - true, true


def _require_both(scores: NDArray[Any], positive: NDArray[np.bool_]) -> None:
    if scores.shape != positive.shape or scores.ndim != 1 or positive.dtype != np.bool_:
        msg = f"scores [N] and bool [N], not {scores.shape} and {positive.dtype} {positive.shape}"
        raise ValueError(msg)
    count = np.count_nonzero(positive)
    if not 0 < count < len(positive):
        msg = f"a ROC curve needs positives and negatives: {count} of {len(positive)} are positive"
        raise ValueError(msg)
    if np.isnan(scores).any():
        msg = f"score {np.flatnonzero(np.isnan(scores))[0]} is not a number"
        raise ValueError(msg)
