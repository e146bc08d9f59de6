"""A model as an attacker has it who owns the device: its weights, and the rows that are left.

subject = open_subject(model, keep=(0, 1, 2, 4), pool, memory)
features = subject.representations(index)           # name -> float32 [n, F]
row = subject.fresh_row(generator)                  # the attacker's own, to be trained
logits = subject.score(index, row)                  # [n, R + 1], the new row last
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pfedge.backbone.embedding import Embedding, EmbeddingSpec
from pfedge.data.pool import Pool
from pfedge.guarantees.exact.model import ExactModel
from pfedge.guarantees.isolated.model import IsolatedModel
from pfedge.guarantees.isolated.token_cache import LookSource
from pfedge.guarantees.isolated.train import isolated_loss
from pfedge.guarantees.shared.model import PromptBankModel
from pfedge_runtime.bank import RowKey, StatisticsBank, quantise, summarise

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


class SharedSubject(Subject):
    """Guarantee `shared`: LoRA stays, and every row changes what the others say."""

    def __init__(
        self, model: PromptBankModel, keep: Sequence[int], pool: Pool, autocast: AbstractContextManager[Any]
    ) -> None:
        """Take a model, the class ids whose rows are left, and in what to compute."""
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
        prompts, weight, bias = _with(self.rows(), row)
        return self._cls(index, prompts) @ weight.T + bias

    @torch.no_grad()
    def representations(self, index: Index) -> dict[str, Features]:
        """Return the adapted backbone's embedding, without rows, and its last CLS under the rows that are left."""
        with self._autocast:
            bare = _in_batches(index, lambda part: self._embedding(self._tokens(part)))
        return {EMBEDDING: bare, LAST_CLS: _in_batches(index, lambda part: self._cls(part, self.rows()[0]))}

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


class IsolatedSubject(Subject):
    """Guarantee `isolated`: a frozen backbone, and rows that cannot see each other."""

    def __init__(self, model: IsolatedModel, keep: Sequence[int], looks: LookSource) -> None:
        """Take a model, the class ids whose rows are left, and looks at the pool."""
        self.class_ids = tuple(keep)
        self._model, self._looks = model.eval(), looks
        positions = [model.class_ids.index(class_id) for class_id in keep]
        self._rows = tuple(part.detach()[positions] for part in (model.prompts, model.head_weight, model.head_bias))

    def rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the rows that are left."""
        prompts, weight, bias = self._rows
        return prompts, weight, bias

    def score(self, index: Index, row: NewRow | None = None) -> Tensor:
        """Return logits; those of the rows that are left are what they are without the new one."""
        look, model = self._looks.batch(index), self._model
        with torch.no_grad():
            kept = model.read(model.row_cls(look, self._rows[0]), look, *self._rows[1:])
        if row is None:
            return kept
        new = model.read(model.row_cls(look, row.prompts), look, row.weight, row.bias)
        return torch.cat([kept, new], dim=1)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of the guarantee's own training."""
        return isolated_loss(logits, target)

    @torch.no_grad()
    def representations(self, index: Index) -> dict[str, Features]:
        """Return the frozen embedding, and what CLS has become behind each row that is left, side by side."""
        frozen = _in_batches(index, lambda part: self._looks.batch(part).embedding)
        return {EMBEDDING: frozen, LAST_CLS: _in_batches(index, self._own)}

    def _own(self, index: Index) -> Tensor:
        own = self._model.row_cls(self._looks.batch(index), self._rows[0])
        return F.layer_norm(own, own.shape[-1:]).flatten(1)


class ExactSubject(Subject):
    """Guarantee `exact`: a frozen embedding, and statistics."""

    learns_by_steps = False

    def __init__(self, bank: StatisticsBank, embedding: Features) -> None:
        """Take the bank that is left and the embedding `[N, E]` of the pool."""
        self.class_ids = bank.class_ids
        self._bank, self._embedding = bank, embedding
        head = bank.head()
        self._head = torch.from_numpy(np.array(head.weight)), torch.from_numpy(np.array(head.bias))

    def rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the head that is solved from the rows that are left."""
        return torch.zeros(len(self.class_ids), 0, 1), *self._head

    def score(self, index: Index, row: NewRow | None = None) -> Tensor:
        """Return logits of the head."""
        _, weight, bias = _with(self.rows(), row)
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


def open_subject(
    model: PromptBankModel | IsolatedModel | ExactModel,
    keep: Sequence[int],
    pool: Pool,
    looks: LookSource | None = None,
    embedding: Features | None = None,
    autocast: AbstractContextManager[Any] | None = None,
) -> Subject:
    """Return a model with only the rows of the class ids in `keep`.

    Args:
        model: of any guarantee.
        keep: increasing.
        pool: the inputs.
        looks: what an `isolated` model's backbone makes of them.
        embedding: what an `exact` model's backbone makes of them.
        autocast: what a `shared` model computes in; None is float32.
    """
    if isinstance(model, PromptBankModel):
        return SharedSubject(model, keep, pool, nullcontext() if autocast is None else autocast)
    if isinstance(model, IsolatedModel) and looks is not None:
        return IsolatedSubject(model, keep, looks)
    if isinstance(model, ExactModel) and embedding is not None:
        return ExactSubject(model.bank().select(keep), embedding)
    message = f"a {type(model).__name__} comes with looks or an embedding"
    raise TypeError(message)


def _with(rows: tuple[Tensor, Tensor, Tensor], row: NewRow | None) -> tuple[Tensor, Tensor, Tensor]:
    if row is None:
        return rows
    prompts, weight, bias = (torch.cat([kept, new]) for kept, new in zip(rows, row.parameters(), strict=True))
    return prompts, weight, bias


def _in_batches(index: Index, compute: Callable[[Index], Tensor]) -> Features:
    """Return `compute` of all of `index`, some at a time."""
    return np.concatenate([compute(index[at : at + BATCH]).float().cpu().numpy() for at in range(0, len(index), BATCH)])
