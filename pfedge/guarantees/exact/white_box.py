"""Attacking guarantee `exact`: the pool is embedded once, and all else is sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from pfedge.data import Pool
from pfedge.guarantees.exact.model import ExactModel, embed_split
from pfedge.guarantees.shadows import Say, Shadows, memberships
from pfedge.guarantees.subject import EMBEDDING, Features, Index, NewRow, Subject, with_row
from pfedge.guarantees.white_box import WhiteBox
from pfedge.progress import bars
from pfedge.runs import TrainConfig
from pfedge_runtime.bank import RowKey, StatisticsBank, quantise, summarise


class ExactWhiteBox(WhiteBox[ExactModel]):
    """A pool, and its embedding.

    Attributes:
        embedding: float32 `[N, E]`.
    """

    def __init__(self, model: ExactModel, pool: Pool, console: Console) -> None:
        self._bank, self._pool = model.bank(), pool
        with bars(console) as progress:
            bar = progress.add_task("embedding", total=len(pool))
            parts = []
            for _, part in embed_split(model.embedding, pool.split()):
                parts.append(part)
                progress.advance(bar, len(part))
        self.embedding: Features = np.concatenate(parts)

    def subject(self, model: ExactModel, keep: Sequence[int]) -> Subject:
        """Return a model with only some rows."""
        return ExactSubject(model.bank().select(keep), self.embedding)

    def shadows(self, config: TrainConfig, forgotten: int, count: int, *, seed: int, say: Say) -> Shadows:
        """Sum random halves into banks of the same grid and shrinkage; seconds for dozens."""
        del config  # the bank has all of it that counts
        pool, bank = self._pool, self._bank
        member, ids = memberships(pool, count, seed=seed), bank.class_ids
        quantised = quantise(self.embedding, bank.scale_bits)
        before: list[Features] = []
        after: list[Features] = []
        for shadow, inside in enumerate(member):
            rows = {RowKey(c, ""): summarise(quantised[inside & (pool.labels == c)]) for c in ids}
            whole = StatisticsBank(rows, bank.scale_bits, bank.shrinkage)
            for said, head in ((before, whole.head()), (after, whole.drop({forgotten}).head())):
                said.append(self.embedding @ head.weight.T + head.bias)
            say(f"shadow model {shadow + 1} of {count}")
        return Shadows(ids, forgotten, member, np.stack(before), np.stack(after))


class ExactSubject(Subject):
    """Guarantee `exact`: the bank that is left, and the frozen embedding float32 `[N, E]` of the pool."""

    learns_by_steps = False

    def __init__(self, bank: StatisticsBank, embedding: Features) -> None:
        self.class_ids = bank.class_ids
        self._bank, self._embedding = bank, embedding
        head = bank.head()
        self._head = torch.from_numpy(np.array(head.weight)), torch.from_numpy(np.array(head.bias))

    def rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the head that is solved from the rows that are left."""
        return torch.zeros(len(self.class_ids), 0, 1), *self._head

    def score(self, index: Index, row: NewRow | None = None) -> Tensor:
        """Return logits of the head."""
        _, weight, bias = with_row(self.rows(), row)
        return torch.from_numpy(self._embedding[index]) @ weight.T + bias

    def representations(self, index: Index) -> dict[str, Features]:
        """Return the frozen embedding."""
        return {EMBEDDING: self._embedding[index]}

    def relearned(self, class_id: int, shots: Index, index: Index) -> Tensor:
        """Return logits `[n, R + 1]` under the statistics of some inputs as a new row, its column last."""
        key = RowKey(class_id, "")
        row = summarise(quantise(self._embedding[shots], self._bank.scale_bits))
        head = self._bank.insert({key: row}).head()
        order = [*(p for p, c in enumerate(head.class_ids) if c != class_id), head.class_ids.index(class_id)]
        return torch.from_numpy(self._embedding[index] @ head.weight[order].T + head.bias[order])
