"""Guarantee `isolated`: a frozen backbone and rows that see an input, but neither each other nor are seen by it.

    model = IsolatedModel(backbone, class_ids=range(8), spec=EmbeddingSpec())
    logits = model(inputs)                              # float32 [B, R], one pass for all rows
    logits = model.score(model.run_backbone(inputs))    # the same in two steps; the first has nothing trained in it

Row r's tokens are its T prompts and a copy of the backbone's CLS. Its head reads what that CLS has become, and the
frozen embedding. As the input's own tokens never see a row, their keys and values can be computed once and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfedge.backbone import Backbone, Embedding, EmbeddingSpec, attend_one_way, one_way, take_apart
from pfedge.guarantees.rows import bank_of, load_rows, rows_state
from pfedge_runtime.bank import PromptBank

ROW_GROUP = 16


@dataclass(frozen=True)
class KeyValues:
    """What a frozen backbone makes of inputs: all that rows need to know.

    Attributes:
        keys: `[B, blocks, heads, 1 + N, D / heads]`.
        values: likewise.
        embedding: float32 `[B, E]`.
    """

    keys: Tensor
    values: Tensor
    embedding: Tensor


class IsolatedModel(nn.Module):
    """Rows under one-way attention.

    Attributes:
        class_ids: the class id of each row, increasing.
        prompts: `[R, T, D]`.
        head_weight: `[R, D + E]`: for the row's CLS first, then for the embedding.
        head_bias: `[R]`.
        threshold: `[R]`, the acceptance thresholds, set by calibration after training.
    """

    threshold: Tensor

    def __init__(
        self, backbone: Backbone, *, class_ids: Iterable[int], tokens_per_class: int = 1, spec: EmbeddingSpec
    ) -> None:
        """Draw the rows.

        Raises:
            UsageError: the backbone has no such embedding.
        """
        super().__init__()
        self.class_ids = tuple(sorted(class_ids))
        self.embedding = Embedding(backbone, spec)
        rows, width = len(self.class_ids), backbone.width
        self.prompts = nn.Parameter(torch.randn(rows, tokens_per_class, width) / 10)
        self.head_weight = nn.Parameter(torch.randn(rows, width + self.embedding.spec.dim) / 100)
        self.head_bias = nn.Parameter(torch.zeros(rows))
        self.register_buffer("threshold", torch.full((rows,), -torch.inf))

    @property
    def backbone(self) -> Backbone:
        """The frozen transformer."""
        return self.embedding.backbone

    def forward(self, inputs: Tensor, keep: Sequence[int] | None = None) -> Tensor:
        """Return logits `[B, R]` of images `[B, H, W, 3]` or features, under all rows or those at positions `keep`."""
        return self.score(self.run_backbone(inputs), keep)

    @torch.no_grad()
    def run_backbone(self, inputs: Tensor) -> KeyValues:
        """Run the frozen backbone, keeping each block's keys and values and the embedding."""
        tokens = self.backbone.embed(inputs)
        keys, values, parts = [], [], []
        for number, block in enumerate(self.backbone.blocks, start=1):
            part = take_apart(block, self.backbone.heads)
            hidden = part.norm1(tokens)
            keys.append(part.split(part.key(hidden)))
            values.append(part.split(part.value(hidden)))
            tokens = block(tokens)
            if number in self.embedding.spec.blocks:
                parts.append(self.embedding.pool(tokens))
        return KeyValues(torch.stack(keys, 1), torch.stack(values, 1), self.embedding.project(parts))

    def score(self, frozen: KeyValues, keep: Sequence[int] | None = None) -> Tensor:
        """Return logits `[B, R]` of inputs that the backbone has seen, R the rows at positions `keep`, or all.

        Outside training, rows are padded to a multiple of `ROW_GROUP`: a matrix product's last bit depends on its
        shape, and shapes shall not tell how many rows there are. On some processors it also depends on a row's place.
        """
        parts = (self.prompts, self.head_weight, self.head_bias)
        prompts, weight, bias = parts if keep is None else (part[list(keep)] for part in parts)
        rows = len(prompts)
        if not self.training:
            spare = -rows % ROW_GROUP
            prompts, weight, bias = (torch.cat([p, p[:1].expand(spare, *p.shape[1:])]) for p in (prompts, weight, bias))
        return self.read(self.row_cls(frozen, prompts), frozen, weight, bias)[:, :rows]

    def row_cls(self, frozen: KeyValues, prompts: Tensor) -> Tensor:
        """Return what CLS has become behind each row's prompts `[R, T, D]`: `[B, R, D]`."""
        tokens = _row_tokens(prompts, self.backbone.first_token())[None].expand(len(frozen.embedding), -1, -1, -1)
        for number, block in enumerate(self.backbone.blocks):
            part = take_apart(block, self.backbone.heads)
            tokens = attend_one_way(part, tokens, frozen.keys[:, number], frozen.values[:, number])
        return tokens[:, :, -1]

    @staticmethod
    def read(own: Tensor, frozen: KeyValues, head_weight: Tensor, head_bias: Tensor) -> Tensor:
        """Return logits `[B, R]` of rows' CLS `[B, R, D]`, under heads `[R, D + E]` and biases `[R]`."""
        return _read(own, frozen.embedding, head_weight, head_bias)

    def bank(self) -> PromptBank:
        """Return the rows as a bank."""
        return bank_of(self.class_ids, self.prompts, self.head_weight, self.head_bias, self.threshold)

    def trained_state(self) -> dict[str, Tensor]:
        """Return the rows, as named tensors `rows.<class id>.<part>`."""
        return rows_state(self.bank())

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `trained_state` returned.

        Raises:
            KeyError: a tensor is missing.
            RuntimeError: a tensor has another shape.
        """
        load_rows(state, self.class_ids, self.prompts, self.head_weight, self.head_bias, self.threshold)

    def trained_parameters(self) -> dict[str, int]:
        """Return how many trained numbers stand in rows, and how many out of `forget`'s reach: none."""
        return {"rows": self.prompts.numel() + self.head_weight.numel() + self.head_bias.numel(), "shared": 0}

    def deployable(self) -> IsolatedGraph:
        """Return the module that is exported."""
        return IsolatedGraph(self.embedding).eval()


class IsolatedGraph(nn.Module):
    """What is exported for `isolated`: all rows scored in one pass over one sequence."""

    def __init__(self, embedding: Embedding) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, inputs: Tensor, prompts: Tensor, head_weight: Tensor, head_bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `[B, R]` and embedding `[B, E]`.

        Args:
            inputs: images uint8 `[B, H, W, 3]`, or features float32 `[B, frames, mels]`.
            prompts: float32 `[R, T, D]`.
            head_weight: float32 `[R, D + E]`.
            head_bias: float32 `[R]`.
        """
        backbone, size = self.embedding.backbone, prompts.shape[1] + 1
        image = backbone.embed(inputs)
        rows = _row_tokens(prompts, backbone.first_token())
        tokens = torch.cat([image, rows.flatten(0, 1)[None].expand(image.shape[0], -1, -1)], dim=1)
        inner, parts = image.shape[1], []
        for number, block in enumerate(backbone.blocks, start=1):
            tokens = one_way(take_apart(block, backbone.heads), tokens, inner, size)
            if number in self.embedding.spec.blocks:
                parts.append(self.embedding.pool(tokens[:, :inner]))
        embedded = self.embedding.project(parts)
        own = tokens[:, inner:].unflatten(1, (-1, size))[:, :, -1]  # type: ignore[no-untyped-call]  # torch's own lack
        return _read(own, embedded, head_weight, head_bias), embedded


def _row_tokens(prompts: Tensor, first: Tensor) -> Tensor:
    """Return the tokens of each row `[R, T + 1, D]`: its prompts and a copy of the backbone's CLS `[1, 1, D]`."""
    return torch.cat([prompts, first.expand(prompts.shape[0], 1, -1)], dim=1)


def _read(own: Tensor, embedding: Tensor, head_weight: Tensor, head_bias: Tensor) -> Tensor:
    """Return logits `[B, R]` from the rows' CLS `[B, R, D]` and the embedding `[B, E]`."""
    width = own.shape[-1]
    normal = F.layer_norm(own.float(), (width,))
    return (normal * head_weight[:, :width]).sum(-1) + embedding @ head_weight[:, width:].T + head_bias
