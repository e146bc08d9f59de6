"""How well a score tells positives from negatives.

tpr_at_fpr(scores, member, 0.01), roc_curve(scores, member)

Only the order of the scores counts, so they may be of any unit, and infinite. A score is positive from a threshold on;
equal scores stand on one side of any threshold together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge.ranking import require_both

POINTS = 200


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
        ValueError: as `pfedge.ranking.auc`, or `fpr` is no rate.
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
        ValueError: as `pfedge.ranking.auc`.
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
    require_both(scores, positive)
    order = np.argsort(scores)[::-1]
    ordered = scores[order]
    last = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)  # of each run of equal scores
    true = np.concatenate(([0], np.cumsum(positive[order])[last]))
    return np.concatenate(([0], last + 1)) - true, true
