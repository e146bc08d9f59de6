"""How well a score ranks positives above negatives.

>>> auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
0.875

Only the order of the scores counts, so they may be of any unit, and infinite. scikit-learn's `roc_auc_score` gives the
same, but refuses infinite scores and checks its arguments for hundreds of times as long as it computes: an audit asks
tens of thousands of times (docs/adr/0018-own-auc.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def auc(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve: how often a positive scores above a negative, ties counting half.

    This is Mann and Whitney's U over the number of pairs (1947).

    Args:
        scores: `[N]`, higher is more likely positive.
        positive: bool `[N]`.

    Raises:
        ValueError: there is no positive or no negative, a score is no number, or shapes differ.
    """
    require_both(scores, positive)
    negatives = np.sort(scores[~positive])
    positives = np.sort(scores[positive])  # sorted needles are found faster
    below = np.searchsorted(negatives, positives, side="left").sum()
    not_above = np.searchsorted(negatives, positives, side="right").sum()
    return float((below + not_above) / (2 * len(positives) * len(negatives)))


def require_both(scores: NDArray[Any], positive: NDArray[np.bool_]) -> None:
    """Check that scores `[N]` of positives and of negatives are there, and that each is a number.

    Raises:
        ValueError: it is not so; the message says what is there.
    """
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
