"""Attacking guarantee `shared`: LoRA stays, and so must go through the whole network."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pfedge.backbone import Embedding, EmbeddingSpec, load_backbone
from pfedge.data import Pool
from pfedge.guarantees.shadows import Say, Shadows, memberships
from pfedge.guarantees.shared.model import PromptBankModel
from pfedge.guarantees.shared.train import Steps, new_optimizer
from pfedge.guarantees.subject import (
    EMBEDDING,
    LAST_CLS,
    Features,
    Index,
    NewRow,
    Subject,
    in_batches,
    with_row,
)
from pfedge.guarantees.white_box import WhiteBox
from pfedge.runs import TrainConfig
from pfedge.training import step_seed


class SharedWhiteBox(WhiteBox[PromptBankModel]):
    """A pool, and in what precision it is computed with."""

    def __init__(self, model: PromptBankModel, pool: Pool, device: torch.device, autocast: torch.autocast) -> None:
        self._class_ids, self._pool, self._device, self._autocast = model.class_ids, pool, device, autocast

    def subject(self, model: PromptBankModel, keep: Sequence[int]) -> Subject:
        """Return a model with only some rows."""
        return SharedSubject(model, keep, self._pool, self._autocast)

    def shadows(self, config: TrainConfig, forgotten: int, count: int, *, seed: int, say: Say) -> Shadows:
        """Train rows and LoRA on random halves: each takes half as long as the model did."""
        pool, ids = self._pool, self._class_ids
        member = memberships(pool, count, seed=seed)
        every, kept = torch.arange(len(ids)), torch.tensor([at for at, c in enumerate(ids) if c != forgotten])
        before: list[Features] = []
        after: list[Features] = []
        for shadow, inside in enumerate(member):
            own = replace(config, seed=step_seed(config.seed, 0, shadow))
            torch.manual_seed(own.seed)
            backbone = load_backbone(  # anew, as LoRA changes it
                own.model_name, image_size=own.image_size, preprocessor=own.preprocessor
            )
            model = PromptBankModel(backbone, class_ids=ids, tokens_per_class=own.tokens_per_class).to(self._device)
            # published audits number the steps of shadow models from 0, and so draw other seeds than `train` does
            steps = Steps(model, new_optimizer(model, own), pool.split().where(inside), own, self._autocast)
            for epoch in range(1, own.epochs + 1):
                loss = float(np.mean(list(steps.of_epoch(epoch, first=0))))
                say(f"shadow model {shadow + 1} of {count}, epoch {epoch} of {own.epochs}, loss {loss:.3f}")
            model.eval()
            for said, rows in ((before, every), (after, kept)):
                with torch.no_grad(), self._autocast:
                    logits = in_batches(np.arange(len(pool)), partial(self._score, model, rows))
                said.append(logits[:, rows.numpy()])
        return Shadows(ids, forgotten, member, np.stack(before), np.stack(after))

    def _score(self, model: PromptBankModel, rows: Tensor, index: Index) -> Tensor:
        inputs = torch.from_numpy(self._pool.inputs[index]).to(self._device)
        logits: Tensor = model(inputs, rows.expand(len(index), -1))
        return logits


class SharedSubject(Subject):
    """Guarantee `shared`: LoRA stays, and every row changes what the others say."""

    def __init__(
        self, model: PromptBankModel, keep: Sequence[int], pool: Pool, autocast: AbstractContextManager[Any]
    ) -> None:
        self.class_ids = tuple(keep)
        self._model, self._pool, self._autocast = model.eval(), pool, autocast
        positions = [model.class_ids.index(class_id) for class_id in keep]
        self._rows = tuple(part.detach()[positions] for part in (model.prompts, model.head.weight, model.head.bias))
        self._embedding = Embedding(model.backbone, EmbeddingSpec(dim=0))

    def rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows that are left."""
        prompts, weight, bias = self._rows
        return prompts, weight, bias

    def score(self, index: Index, row: NewRow | None = None) -> Tensor:
        """Return logits of the whole bank, the new row among it."""
        prompts, weight, bias = with_row(self.rows(), row)
        return self._cls(index, prompts) @ weight.T + bias

    @torch.no_grad()
    def representations(self, index: Index) -> dict[str, Features]:
        """Return the adapted backbone's embedding, without rows, and its last CLS under the rows that are left."""
        with self._autocast:
            bare = in_batches(index, lambda part: self._embedding(self._tokens(part)))
        return {EMBEDDING: bare, LAST_CLS: in_batches(index, lambda part: self._cls(part, self.rows()[0]))}

    def _tokens(self, index: Index) -> Tensor:
        tokens: Tensor = self._model.backbone.embed(
            torch.from_numpy(self._pool.inputs[index]).to(self._model.prompts.device)
        )
        return tokens

    def _cls(self, index: Index, prompts: Tensor) -> Tensor:
        with self._autocast:
            tokens, prefix = self._tokens(index), prompts.flatten(0, 1)
            hidden = self._model.backbone.encode(torch.cat([prefix.expand(len(tokens), -1, -1), tokens], dim=1))
        return hidden[:, len(prefix)].float()
