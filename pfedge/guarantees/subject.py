"""A model as an attacker has it who owns the device: its weights, and the rows that are left.

subject = white_box.subject(model, keep=(0, 1, 2, 4))
features = subject.representations(index)           # name -> float32 [n, F]
row = subject.fresh_row(generator)                  # the attacker's own, to be trained
logits = subject.score(index, row)                  # [n, R + 1], the new row last
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

BATCH = 32
EMBEDDING, LAST_CLS = "embedding", "last-layer CLS"
Index = NDArray[np.int64]
Features = NDArray[np.float32]


@dataclass(frozen=True)
class NewRow:
    """A row of an attacker's own: prompts `[1, T, D]` (T = 0 where there are none), weight `[1, F]`, bias `[1]`."""

    prompts: nn.Parameter
    weight: nn.Parameter
    bias: nn.Parameter

    def parameters(self) -> list[nn.Parameter]:
        """Return all parts."""
        return [self.prompts, self.weight, self.bias]

    @classmethod
    def of(cls, prompts: Tensor, weight: Tensor, bias: Tensor) -> NewRow:
        """Return a row of copies."""
        return cls(*(nn.Parameter(part.detach().clone()) for part in (prompts, weight, bias)))


class Subject(ABC):
    """A model of any guarantee, with R rows.

    Attributes:
        class_ids: of its rows.
        lr: what an attacker trains a row with.
        learns_by_steps: False where a row is not learned by gradient: `relearned` makes it at once.
    """

    lr = 1e-2
    learns_by_steps = True
    class_ids: tuple[int, ...]

    @abstractmethod
    def representations(self, index: Index) -> dict[str, Features]:
        """Return what an attacker may probe, by name."""

    @abstractmethod
    def score(self, index: Index, row: NewRow | None = None) -> Tensor:
        """Return logits `[n, R]`, or `[n, R + 1]` with a new row."""

    @abstractmethod
    def rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows that are left: prompts `[R, T, D]`, weights `[R, F]`, biases `[R]`."""

    def fresh_row(self, generator: torch.Generator) -> NewRow:
        """Return a random row, of the spread of those that are left."""
        prompts, weight, bias = self.rows()
        spread = prompts.std() if prompts.numel() > 1 else 0.0
        like, vector = (torch.randn(part[:1].shape, generator=generator).to(part.device) for part in (prompts, weight))
        return NewRow.of(like * spread, vector * weight.std(), bias.mean().view(1))

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return what an attacker minimises, of logits `[n, R + 1]` and positions `[n]`."""
        return F.cross_entropy(logits, target)

    def relearned(self, class_id: int, shots: Index, index: Index) -> Tensor:
        """Return logits `[n, R + 1]` under the row that the guarantee's own training makes of some inputs.

        Raises:
            NotImplementedError: rows are learned by steps.
        """
        raise NotImplementedError


def with_row(rows: tuple[Tensor, Tensor, Tensor], row: NewRow | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return prompts, weights and biases with those of a new row behind them, if there is one."""
    if row is None:
        return rows
    prompts, weight, bias = (torch.cat([kept, new]) for kept, new in zip(rows, row.parameters(), strict=True))
    return prompts, weight, bias


def in_batches(index: Index, compute: Callable[[Index], Tensor]) -> Features:
    """Return `compute` of all of `index`, some at a time."""
    return np.concatenate([compute(index[at : at + BATCH]).float().cpu().numpy() for at in range(0, len(index), BATCH)])
