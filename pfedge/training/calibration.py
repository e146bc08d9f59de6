"""Acceptance thresholds: below which score a row's answer is not believed.

calibrate(model, calibration_split(dataset.val, labels, seed), labels, autocast)
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pfedge.data import Split
from pfedge.evaluation.forgetting import RowLabels, full_bank_logits
from pfedge.guarantees.isolated.model import IsolatedModel
from pfedge.guarantees.shared.model import PromptBankModel

ACCEPTANCE = 0.95
LIMIT = 5000


def calibration_split(split: Split, labels: RowLabels, seed: int) -> Split:
    """Return at most 5,000 validation inputs of the classes that have a row."""
    return split.only(labels.class_ids).sample(LIMIT, seed)


def calibrate(model: PromptBankModel, split: Split, labels: RowLabels, autocast: AbstractContextManager[Any]) -> None:
    """Set the thresholds of a model from a validation split; see `set_thresholds`."""
    split = split.only(model.class_ids)
    set_thresholds(model, full_bank_logits(model, split, autocast=autocast), labels.positions(split.labels).numpy())


@torch.no_grad()
def set_thresholds(model: PromptBankModel | IsolatedModel, logits: NDArray[np.float32], own: NDArray[np.int64]) -> None:
    """Set each row's threshold to the score that 95 % of its own class's validation inputs reach.

    Only inputs of the row's own class are used. A class without validation inputs accepts everything.

    Args:
        model: whose thresholds are set.
        logits: `[N, R]`.
        own: the bank position of each input's own row, `[N]`.
    """
    for position in range(len(model.class_ids)):
        scores = logits[own == position, position]
        if len(scores):
            model.threshold[position] = float(np.quantile(scores, 1 - ACCEPTANCE, method="lower"))
