"""The same model with fixed shapes, for targets that need them: rows are masked, not dropped.

    module = static_graph(model.deployable())
    logits = module(inputs, prompts, head_weight, head_bias, row_mask)      # float32 [B, R_max]

A zero row still takes part in attention; a masked one does not, whatever junk stands in it, and its logit is -inf.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfedge.backbone.backbone import Backbone
from pfedge.backbone.blocks import take_apart
from pfedge.guarantees.exact.model import ExactGraph
from pfedge.guarantees.isolated.model import IsolatedGraph
from pfedge.guarantees.shared.model import PromptGraph


def static_graph(module: PromptGraph | IsolatedGraph | ExactGraph) -> nn.Module:
    """Return the module to export with fixed shapes; it shares its weights with `module`."""
    if isinstance(module, PromptGraph):
        return StaticPromptGraph(module.backbone).eval()
    if isinstance(module, IsolatedGraph):
        return StaticIsolatedGraph(module).eval()
    return StaticExactGraph(module).eval()


class StaticPromptGraph(nn.Module):
    """`shared`: no token attends to those of a masked row."""

    def __init__(self, backbone: Backbone) -> None:
        """Take a backbone whose LoRA has been merged."""
        super().__init__()
        self.backbone = backbone

    def forward(
        self, inputs: Tensor, prompts: Tensor, head_weight: Tensor, head_bias: Tensor, row_mask: Tensor
    ) -> Tensor:
        """Return logits `[B, R_max]`, -inf where `row_mask`, bool `[R_max]`, is False.

        Args:
            inputs: images uint8 `[B, H, W, 3]`, or features float32 `[B, frames, mels]`.
            prompts: float32 `[R_max, T, D]`.
            head_weight: float32 `[R_max, D]`.
            head_bias: float32 `[R_max]`.
            row_mask: bool `[R_max]`, True for the rows in the bank.
        """
        backbone = self.backbone
        tokens = backbone.embed(inputs)
        prompts, head_weight, head_bias = _clean(row_mask, prompts, head_weight, head_bias)
        prefix = prompts.reshape(1, -1, backbone.width).expand(tokens.shape[0], -1, -1)
        seen = torch.cat([row_mask.repeat_interleave(prompts.shape[1]), torch.ones(tokens.shape[1], dtype=torch.bool)])
        hidden = torch.cat([prefix, tokens], dim=1)
        for block in backbone.blocks:
            part = take_apart(block, backbone.heads)
            normal = part.norm1(hidden)
            query, key, value = (part.split(layer(normal)) for layer in (part.query, part.key, part.value))
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=seen[None, None, None, :])
            hidden = part.finish(hidden, attended)
        return _mask(row_mask, hidden[:, prefix.shape[1]] @ head_weight.T + head_bias)


class StaticIsolatedGraph(nn.Module):
    """`isolated`: rows do not see each other anyway."""

    def __init__(self, module: IsolatedGraph) -> None:
        """Take what is exported with dynamic shapes."""
        super().__init__()
        self.module = module

    def forward(
        self, inputs: Tensor, prompts: Tensor, head_weight: Tensor, head_bias: Tensor, row_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits `[B, R_max]` and embedding `[B, E]`; see `StaticPromptGraph`."""
        logits, embedding = self.module(inputs, *_clean(row_mask, prompts, head_weight, head_bias))
        return _mask(row_mask, logits), embedding


class StaticExactGraph(nn.Module):
    """`exact`: a head is all there is."""

    def __init__(self, module: ExactGraph) -> None:
        """Take what is exported with dynamic shapes."""
        super().__init__()
        self.module = module

    def forward(
        self, inputs: Tensor, head_weight: Tensor, head_bias: Tensor, row_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits `[B, R_max]` and embedding `[B, E]`; see `StaticPromptGraph`."""
        logits, embedding = self.module(inputs, *_clean(row_mask, head_weight, head_bias))
        return _mask(row_mask, logits), embedding


def _clean(row_mask: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
    """Return parts of rows with zeros where a row is masked: junk that is not finite would spread as 0 times it."""
    return tuple(torch.where(row_mask.reshape(-1, *[1] * (part.dim() - 1)), part, 0.0) for part in parts)


def _mask(row_mask: Tensor, logits: Tensor) -> Tensor:
    return torch.where(row_mask[None], logits, -torch.inf)
