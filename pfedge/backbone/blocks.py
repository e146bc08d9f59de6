"""A transformer block taken apart, so that rows can look at an input without the input looking back.

    parts = take_apart(block, heads=6)
    tokens = one_way(parts, tokens, inner=65, size=2)      # 65 tokens of the input, then rows of two tokens each

Under one-way attention the tokens of an input attend to each other alone, and the tokens of a row to the input and to
themselves: what a block makes of an input is the same whatever bank it meets, and no row sees another. (Related:
À-la-carte Prompt Tuning, arXiv 2302.07994.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layer = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class BlockParts:
    """The parts of a pre-norm block of `ViTModel`, `Dinov2Model` or `ASTModel`, of transformers 4 or 5.

    Attributes:
        norm1: LayerNorm before attention.
        query: projection `[D]` to `[D]`; so are key, value and out.
        key: see query.
        value: see query.
        out: what follows the heads.
        scale1: LayerScale behind attention, else the identity.
        norm2: LayerNorm before the MLP.
        mlp: the MLP, without its residual.
        scale2: LayerScale behind the MLP, else the identity.
        heads: number of attention heads.
    """

    norm1: Layer
    query: Layer
    key: Layer
    value: Layer
    out: Layer
    scale1: Layer
    norm2: Layer
    mlp: Layer
    scale2: Layer
    heads: int

    def split(self, projected: Tensor) -> Tensor:
        """Return `[B, heads, S, D / heads]` of `[B, S, D]`."""
        batch, tokens, width = projected.shape
        return projected.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)

    def finish(self, tokens: Tensor, attended: Tensor) -> Tensor:
        """Return the block's output `[B, S, D]` from its input and what its heads gave, `[B, heads, S, D / heads]`."""
        tokens = tokens + self.scale1(self.out(attended.transpose(1, 2).flatten(2)))
        return tokens + self.scale2(self.mlp(self.norm2(tokens)))


def take_apart(block: Any, heads: int) -> BlockParts:  # noqa: ANN401 -- a block of any family and generation
    """Find a block's parts, whatever transformers calls them."""
    attention = {path.rpartition(".")[2]: module for path, module in block.attention.named_modules()}

    def one_of(names: tuple[str, ...], modules: dict[str, Any]) -> Any:  # noqa: ANN401 -- a module
        return next(modules[name] for name in names if name in modules)

    children = dict(block.named_children())
    mlp = block.mlp if "mlp" in children else nn.Sequential(block.intermediate, block.output.dense)
    return BlockParts(
        norm1=one_of(("layernorm_before", "norm1"), children),
        query=one_of(("query", "q_proj"), attention),
        key=one_of(("key", "k_proj"), attention),
        value=one_of(("value", "v_proj"), attention),
        out=one_of(("dense", "o_proj"), attention),
        scale1=children.get("layer_scale1", nn.Identity()),
        norm2=one_of(("layernorm_after", "norm2"), children),
        mlp=mlp,
        scale2=children.get("layer_scale2", nn.Identity()),
        heads=heads,
    )


def attend_one_way(parts: BlockParts, rows: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Return a block's output on row tokens `[B, R, S, D]` that attend to an input and, row by row, to themselves.

    Args:
        parts: the block.
        rows: tokens of the rows.
        keys: of the input's tokens, `[B, heads, N, D / heads]`.
        values: likewise.
    """
    batch, count, size, _ = rows.shape
    flat = rows.flatten(1, 2)
    hidden = parts.norm1(flat)
    query, own_key, own_value = (parts.split(layer(hidden)) for layer in (parts.query, parts.key, parts.value))
    attended = _mix(query, keys, values, own_key, own_value, size)
    return parts.finish(flat, attended).view(batch, count, size, -1)


def one_way(parts: BlockParts, tokens: Tensor, inner: int, size: int) -> Tensor:
    """Return a block's output on an input and rows in one sequence, `[B, inner + R * size, D]`.

    One sequence means that every weight is read once: the input's tokens stand first, those of the rows behind.
    """
    hidden = parts.norm1(tokens)
    query, key, value = (parts.split(layer(hidden)) for layer in (parts.query, parts.key, parts.value))
    image = F.scaled_dot_product_attention(query[:, :, :inner], key[:, :, :inner], value[:, :, :inner])
    rows = _mix(
        query[:, :, inner:],
        key[:, :, :inner],
        value[:, :, :inner],
        key[:, :, inner:],
        value[:, :, inner:],
        size,
    )
    return parts.finish(tokens, torch.cat([image, rows], dim=2))


def _mix(query: Tensor, keys: Tensor, values: Tensor, own_key: Tensor, own_value: Tensor, size: int) -> Tensor:
    """Attend to the input's N tokens and to the `size` tokens of the own row; all are `[B, heads, tokens, d]`."""
    inner = keys.shape[2]
    query = query * query.shape[-1] ** -0.5
    own_query, own_key, own_value = (_by_row(part, size) for part in (query, own_key, own_value))
    scores = torch.cat([query @ keys.transpose(-1, -2), (own_query @ own_key.transpose(-1, -2)).flatten(2, 3)], dim=-1)
    share = scores.softmax(dim=-1)
    own = _by_row(share[..., inner:], size) @ own_value
    mixed: Tensor = share[..., :inner] @ values + own.flatten(2, 3)
    return mixed


def _by_row(tokens: Tensor, size: int) -> Tensor:
    """Return `[B, heads, R, size, d]` of `[B, heads, R * size, d]`."""
    batch, heads, count, width = tokens.shape
    return tokens.reshape(batch, heads, count // size, size, width)
