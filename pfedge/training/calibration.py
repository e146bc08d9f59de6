"""Acceptance thresholds: below which score a row's answer is not believed.

val = calibration_split(dataset.val, model.class_ids, seed)
set_thresholds(model.threshold, logits, own)            # logits [N, R] of val, bank positions [N] of its true rows
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pfedge.data import Split

ACCEPTANCE = 0.95
LIMIT = 5000


def calibration_split(split: Split, class_ids: Sequence[int], seed: int) -> Split:
    """Return at most 5,000 validation inputs of the classes that have a row."""
    return split.only(class_ids).sample(LIMIT, seed)


@torch.no_grad()
def set_thresholds(threshold: Tensor, logits: NDArray[np.float32], own: NDArray[np.int64]) -> None:
    """Set each row's threshold to the score that 95 % of its own class's validation inputs reach.

    Only inputs of the row's own class are used. A row without validation inputs keeps its threshold, which accepts
    everything in a model that is new.

    Args:
        threshold: float32 `[R]`, changed in place.
        logits: float32 `[N, R]`.
        own: the bank position of each input's own row, int64 `[N]`.
    """
    for position in range(len(threshold)):
        scores = logits[own == position, position]
        if len(scores):
            # "lower" takes a score that occurred: a mean of two neighbours would reject the lower one by rounding
            threshold[position] = float(np.quantile(scores, 1 - ACCEPTANCE, method="lower"))
