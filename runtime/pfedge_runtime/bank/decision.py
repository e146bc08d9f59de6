"""From logits to a decision: which row wins, how sure it is, and whether to abstain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.bank.protocol import Bank


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the softmax of `[B, R]` over its last axis, in float64.

    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponential = np.exp(shifted)
    result: NDArray[np.float64] = exponential / exponential.sum(axis=-1, keepdims=True)
    return result


@dataclass(frozen=True)
class Decisions:
    """The decisions on B inputs over R rows.

    Attributes:
        winner: int64 `[B]`, position in the bank of the row with the largest logit.
        probability: float64 `[B, R]`, softmax of the logits over the rows that are left.
        score: float64 `[B]`, what the winning row judges the input by.
        threshold: float64 `[B]`, from which score that row accepts.
        accepted: bool `[B]`, False where the input is abstained on.
    """

    winner: NDArray[np.int64]
    probability: NDArray[np.float64]
    score: NDArray[np.float64]
    threshold: NDArray[np.float64]
    accepted: NDArray[np.bool_]


def decide(
    bank: Bank,
    logits: NDArray[np.float32],
    embedding: NDArray[np.float32] | None = None,
    *,
    min_probability: float = 0.0,
    use_thresholds: bool = True,
) -> Decisions:
    """Decide on logits `[B, R]` over the rows of a bank.

    An input is accepted when the row with the largest logit accepts it and its probability reaches
    `min_probability`.

    Args:
        bank: the rows.
        logits: float32 `[B, R]`.
        embedding: float32 `[B, E]`, for rows that judge by it.
        min_probability: from 0 to 1.
        use_thresholds: False lets every row accept everything.
    """
    winner = logits.argmax(axis=1).astype(np.int64)
    probability = softmax(logits)
    largest = np.take_along_axis(probability, winner[:, None], axis=1)[:, 0]
    if use_thresholds and len(logits):
        score, threshold = bank.accepts(winner, logits, embedding)
    else:
        score, threshold = largest, np.full(len(logits), -np.inf)
    accepted = (score >= threshold) & (largest >= min_probability)
    return Decisions(winner, probability, score, threshold, accepted)
