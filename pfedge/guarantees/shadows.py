"""Shadow models: the recipe trained on random halves of the pool, so that each input is in some and out of others.

    shadows = isolated_shadows(config, model, looks, pool, count=8, ...)
    shadows.member[:, index], shadows.logits(class_id, index)

They come in pairs whose halves complement each other (Carlini et al. 2022, arXiv 2112.03570), so that every input is
in exactly half of them. What a shadow says is kept, its rows are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pfedge.backbone.backbone import Backbone
from pfedge.data.pool import Pool
from pfedge.guarantees.isolated.model import IsolatedModel, Look
from pfedge.guarantees.isolated.token_cache import Looks
from pfedge.guarantees.isolated.train import LR as ISOLATED_LR
from pfedge.guarantees.isolated.train import Epochs
from pfedge.guarantees.shared.model import PromptBankModel
from pfedge.guarantees.shared.train import LR, TrainConfig, shared_loss, step_seed
from pfedge.guarantees.subject import BATCH, Features, Index
from pfedge_runtime.bank import RowKey, StatisticsBank, quantise, summarise

DEFAULTS = {"shared": 0, "isolated": 8, "exact": 32}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Shadows:
    """What S shadow models say of N inputs.

    Attributes:
        class_ids: of the R rows, increasing.
        forgotten: the class that each has forgotten for `after`.
        member: bool `[S, N]`, what each was trained on.
        before: float32 `[S, N, R]`, logits with all rows.
        after: float32 `[S, N, R - 1]`, logits without the row of the class.
    """

    class_ids: tuple[int, ...]
    forgotten: int
    member: NDArray[np.bool_]
    before: NDArray[np.float32]
    after: NDArray[np.float32]

    def of(self, index: Index) -> Shadows:
        """Return what they say of some of the inputs."""
        return replace(self, member=self.member[:, index], before=self.before[:, index], after=self.after[:, index])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is worth keeping."""
        return {"member": self.member, "before": self.before, "after": self.after}


def memberships(pool: Pool, count: int, *, seed: int) -> NDArray[np.bool_]:
    """Return bool `[count, N]`: random halves of each class, each followed by its complement."""
    rng = np.random.default_rng(seed)
    member = np.zeros((count, len(pool)), dtype=np.bool_)
    for shadow in range(count):
        if shadow % 2:
            member[shadow] = ~member[shadow - 1]
            continue
        for class_id in np.unique(pool.labels):
            own = rng.permutation(np.flatnonzero(pool.labels == class_id))
            member[shadow, own[: len(own) // 2]] = True
    return member


def exact_shadows(
    bank: StatisticsBank, embedding: Features, pool: Pool, forgotten: int, count: int, *, seed: int, say: Say
) -> Shadows:
    """Sum random halves into banks of the same settings; seconds for dozens.

    Args:
        bank: gives grid, shrinkage and classes.
        embedding: float32 `[N, E]`, of the pool.
        pool: the inputs.
        forgotten: the class id.
        count: S, even.
        seed: of the halves.
        say: told about progress.
    """
    member, ids = memberships(pool, count, seed=seed), bank.class_ids
    quantised = quantise(embedding, bank.scale_bits)
    before: list[Features] = []
    after: list[Features] = []
    for shadow, inside in enumerate(member):
        rows = {RowKey(c, ""): summarise(quantised[inside & (pool.labels == c)]) for c in ids}
        whole = StatisticsBank(rows, bank.scale_bits, bank.shrinkage)
        for said, head in ((before, whole.head()), (after, whole.drop({forgotten}).head())):
            said.append(embedding @ head.weight.T + head.bias)
        say(f"shadow model {shadow + 1} of {count}")
    return Shadows(ids, forgotten, member, np.stack(before), np.stack(after))


def isolated_shadows(
    config: TrainConfig,
    model: IsolatedModel,
    looks: Looks,
    pool: Pool,
    forgotten: int,
    count: int,
    *,
    autocast: AbstractContextManager[Any],
    seed: int,
    say: Say,
) -> Shadows:
    """Train rows on random halves, on looks computed once.

    Args:
        config: the recipe.
        model: gives backbone, embedding and classes; it is not changed.
        looks: at the pool.
        pool: the inputs.
        forgotten: the class id.
        count: S, even.
        autocast: the precision.
        seed: of the halves.
        say: told about progress.
    """
    member, ids = memberships(pool, count, seed=seed), model.class_ids
    before = []
    for shadow, inside in enumerate(member):
        torch.manual_seed(step_seed(config.seed, 0, shadow))
        own = IsolatedModel(
            model.backbone, class_ids=ids, tokens_per_class=model.prompts.shape[1], spec=model.embedding.spec
        ).to(model.prompts.device)
        optimizer = torch.optim.Adam([p for p in own.parameters() if p.requires_grad], lr=config.lr or ISOLATED_LR)
        index = np.flatnonzero(inside)
        recipe = replace(config, seed=step_seed(config.seed, 0, shadow), views=1)
        epochs = Epochs(own, optimizer, _Part(looks, index), pool.labels[index], recipe, autocast)
        for epoch in range(1, config.epochs + 1):
            loss = epochs.run(epoch)
            say(f"shadow model {shadow + 1} of {count}, epoch {epoch} of {config.epochs}, loss {loss:.3f}")
        own.eval()
        with torch.no_grad():
            before.append(_in_batches(len(pool), partial(_score_looks, own, looks)))
    whole = np.stack(before)
    return Shadows(ids, forgotten, member, whole, whole[:, :, [c != forgotten for c in ids]])


def shared_shadows(
    config: TrainConfig,
    load: Callable[[], Backbone],
    class_ids: Sequence[int],
    pool: Pool,
    forgotten: int,
    count: int,
    *,
    device: torch.device,
    autocast: AbstractContextManager[Any],
    seed: int,
    say: Say,
) -> Shadows:
    """Train rows and LoRA on random halves: each takes half as long as the model did.

    Args:
        config: the recipe.
        load: loads the backbone anew, as LoRA changes it.
        class_ids: of the rows.
        pool: the inputs.
        forgotten: the class id.
        count: S, even.
        device: where.
        autocast: the precision.
        seed: of the halves.
        say: told about progress.
    """
    member, ids = memberships(pool, count, seed=seed), tuple(class_ids)
    before: list[Features] = []
    after: list[Features] = []
    position = np.full(max(ids) + 1, -1)
    position[list(ids)] = np.arange(len(ids))
    kept = torch.tensor([at for at, c in enumerate(ids) if c != forgotten])
    for shadow, inside in enumerate(member):
        own_seed = step_seed(config.seed, 0, shadow)
        torch.manual_seed(own_seed)
        model = PromptBankModel(load(), class_ids=ids, tokens_per_class=config.tokens_per_class).to(device)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=config.lr or LR)
        index = np.flatnonzero(inside)
        for epoch in range(1, config.epochs + 1):
            model.train()
            order = np.random.default_rng((own_seed, epoch)).permutation(index)
            for step, part in enumerate(np.split(order, range(config.batch_size, len(order), config.batch_size))):
                torch.manual_seed(step_seed(own_seed, epoch, step))
                generator = torch.Generator().manual_seed(step_seed(own_seed, epoch, step))
                target = torch.from_numpy(position[pool.labels[part]])
                with autocast:
                    loss = shared_loss(model, torch.from_numpy(pool.inputs[part]).to(device), target, generator)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
            say(f"shadow model {shadow + 1} of {count}, epoch {epoch} of {config.epochs}")
        model.eval()
        for said, rows in ((before, torch.arange(len(ids))), (after, kept)):
            with torch.no_grad(), autocast:
                logits = _in_batches(len(pool), partial(_score_inputs, model, pool, rows))
            said.append(logits[:, rows.numpy()])
    return Shadows(ids, forgotten, member, np.stack(before), np.stack(after))


@dataclass(frozen=True)
class _Part:
    """Looks at some of the inputs."""

    looks: Looks
    index: Index

    def batch(self, index: NDArray[np.int64]) -> Look:
        """Return looks at those inputs, by position among the part."""
        return self.looks.batch(self.index[index])


def _score_looks(model: IsolatedModel, looks: Looks, index: Index) -> torch.Tensor:
    return model.score(looks.batch(index))


def _score_inputs(model: PromptBankModel, pool: Pool, rows: torch.Tensor, index: Index) -> torch.Tensor:
    inputs = torch.from_numpy(pool.inputs[index]).to(model.prompts.device)
    logits: torch.Tensor = model(inputs, rows.expand(len(index), -1))
    return logits


def _in_batches(count: int, compute: Callable[[Index], torch.Tensor]) -> NDArray[np.float32]:
    parts = (np.arange(at, min(at + BATCH, count)) for at in range(0, count, BATCH))
    return np.concatenate([compute(part).float().cpu().numpy() for part in parts])
