"""Attacking guarantee `isolated`: what the frozen backbone makes of the pool is computed once for all models."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from pfedge.data import Pool
from pfedge.guarantees.isolated.model import IsolatedModel, KeyValues
from pfedge.guarantees.isolated.token_cache import KeyValueSource, TokenCache
from pfedge.guarantees.isolated.train import Epochs, isolated_loss, new_optimizer
from pfedge.guarantees.shadows import Say, Shadows, memberships
from pfedge.guarantees.subject import (
    EMBEDDING,
    LAST_CLS,
    Features,
    Index,
    NewRow,
    Subject,
    in_batches,
)
from pfedge.guarantees.white_box import WhiteBox
from pfedge.progress import bars
from pfedge.runs import TrainConfig
from pfedge.training import step_seed


class IsolatedWhiteBox(WhiteBox[IsolatedModel]):
    """A pool, and its keys and values.

    Attributes:
        frozen: keys, values and embedding of each input.
    """

    def __init__(
        self, model: IsolatedModel, pool: Pool, autocast: AbstractContextManager[Any], folder: Path, console: Console
    ) -> None:
        self._model, self._pool, self._autocast = model, pool, autocast
        self.frozen = TokenCache(model, pool.split(), folder)
        with bars(console) as progress:
            bar = progress.add_task("caching keys and values", total=len(pool))
            self.frozen.fill(lambda done: progress.update(bar, completed=done))

    def subject(self, model: IsolatedModel, keep: Sequence[int]) -> Subject:
        """Return a model with only some rows."""
        return IsolatedSubject(model, keep, self.frozen)

    def shadows(self, config: TrainConfig, forgotten: int, count: int, *, seed: int, say: Say) -> Shadows:
        """Train rows on random halves, on keys and values that are there already; the model is not changed."""
        model, pool = self._model, self._pool
        member, ids, device = memberships(pool, count, seed=seed), model.class_ids, model.prompts.device
        before = []
        for shadow, inside in enumerate(member):
            own = replace(config, seed=step_seed(config.seed, 0, shadow), views=1)
            torch.manual_seed(own.seed)
            rows = IsolatedModel(
                model.backbone, class_ids=ids, tokens_per_class=model.prompts.shape[1], spec=model.embedding.spec
            ).to(device)
            index = np.flatnonzero(inside)
            half = _Part(self.frozen, index)
            epochs = Epochs(rows, new_optimizer(rows, own), half, pool.labels[index], own, self._autocast)
            for epoch in range(1, own.epochs + 1):
                loss = epochs.run(epoch)
                say(f"shadow model {shadow + 1} of {count}, epoch {epoch} of {own.epochs}, loss {loss:.3f}")
            before.append(self._logits(rows.eval()))
        whole = np.stack(before)
        return Shadows(ids, forgotten, member, whole, whole[:, :, [c != forgotten for c in ids]])

    def close(self) -> None:
        """Give memory and disk of keys and values back."""
        self.frozen.close()

    @torch.no_grad()
    def _logits(self, model: IsolatedModel) -> Features:
        return in_batches(np.arange(len(self._pool)), lambda index: model.score(self.frozen.batch(index)))


@dataclass(frozen=True)
class _Part:
    """Keys and values of some of the inputs."""

    frozen: KeyValueSource
    index: Index

    def batch(self, index: NDArray[np.int64]) -> KeyValues:
        """Return those of the inputs at `index`, by position among the part."""
        return self.frozen.batch(self.index[index])


class IsolatedSubject(Subject):
    """Guarantee `isolated`: a frozen backbone, and rows that cannot see each other."""

    def __init__(self, model: IsolatedModel, keep: Sequence[int], frozen: KeyValueSource) -> None:
        self.class_ids = tuple(keep)
        self._model, self._frozen = model.eval(), frozen
        positions = [model.class_ids.index(class_id) for class_id in keep]
        self._rows = tuple(part.detach()[positions] for part in (model.prompts, model.head_weight, model.head_bias))

    def rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows that are left."""
        prompts, weight, bias = self._rows
        return prompts, weight, bias

    def score(self, index: Index, row: NewRow | None = None) -> Tensor:
        """Return logits; those of the rows that are left are what they are without the new one."""
        frozen, model = self._frozen.batch(index), self._model
        with torch.no_grad():
            kept = model.read(model.row_cls(frozen, self._rows[0]), frozen, *self._rows[1:])
        if row is None:
            return kept
        new = model.read(model.row_cls(frozen, row.prompts), frozen, row.weight, row.bias)
        return torch.cat([kept, new], dim=1)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of the guarantee's own training."""
        return isolated_loss(logits, target)

    @torch.no_grad()
    def representations(self, index: Index) -> dict[str, Features]:
        """Return the frozen embedding, and what CLS has become behind each row that is left, side by side."""
        embedding = in_batches(index, lambda part: self._frozen.batch(part).embedding)
        return {EMBEDDING: embedding, LAST_CLS: in_batches(index, self._own)}

    def _own(self, index: Index) -> Tensor:
        own = self._model.row_cls(self._frozen.batch(index), self._rows[0])
        return F.layer_norm(own, own.shape[-1:]).flatten(1)
