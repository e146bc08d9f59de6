"""From logits to a decision: which row wins, how sure it is, and whether to abstain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Decisions:
    """The decisions on B inputs over R rows.

    Attributes:
        winner: int64 `[B]`, position in the bank of the row with the largest score.
        probability: float64 `[B, R]`, softmax of the scores over the rows that are left.
        accepted: bool `[B]`, False where the input is abstained on.
    """

    winner: NDArray[np.int64]
    probability: NDArray[np.float64]
    accepted: NDArray[np.bool_]


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the softmax of `[B, R]` over its last axis, in float64.

    >>> softmax(np.array([[0.0, 0.0]])).tolist()
    [[0.5, 0.5]]
    """
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponential = np.exp(shifted)
    result: NDArray[np.float64] = exponential / exponential.sum(axis=-1, keepdims=True)
    return result


def decide(logits: NDArray[np.float32], threshold: NDArray[np.float32], *, min_probability: float = 0.0) -> Decisions:
    """Decide on logits `[B, R]` with one acceptance threshold per row `[R]`.

    An input is accepted when its largest score reaches the threshold of the row that has it and its
    probability reaches `min_probability`.

    >>> decide(np.array([[3.0, 1.0], [0.1, 0.2]], "f4"), np.array([2.0, 2.0], "f4")).accepted.tolist()
    [True, False]
    """
    winner = logits.argmax(axis=1)
    rows = np.arange(len(logits))
    probability = softmax(logits)
    accepted = (logits[rows, winner] >= threshold[winner]) & (probability[rows, winner] >= min_probability)
    return Decisions(winner=winner, probability=probability, accepted=accepted)
