"""Guarantee `shared` with fixed shapes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfedge.backbone import Backbone, take_apart
from pfedge.guarantees.masking import mask_logits, zero_masked


class StaticPromptGraph(nn.Module):
    """No token attends to those of a masked row."""

    def __init__(self, backbone: Backbone) -> None:
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
        prompts, head_weight, head_bias = zero_masked(row_mask, prompts, head_weight, head_bias)
        prefix = prompts.reshape(1, -1, backbone.width).expand(tokens.shape[0], -1, -1)
        seen = torch.cat([row_mask.repeat_interleave(prompts.shape[1]), torch.ones(tokens.shape[1], dtype=torch.bool)])
        hidden = torch.cat([prefix, tokens], dim=1)
        for block in backbone.blocks:
            part = take_apart(block, backbone.heads)
            normal = part.norm1(hidden)
            query, key, value = (part.split(layer(normal)) for layer in (part.query, part.key, part.value))
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=seen[None, None, None, :])
            hidden = part.finish(hidden, attended)
        return mask_logits(row_mask, hidden[:, prefix.shape[1]] @ head_weight.T + head_bias)
