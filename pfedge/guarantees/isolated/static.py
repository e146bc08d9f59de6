"""Guarantee `isolated` with fixed shapes."""

from __future__ import annotations

from torch import Tensor, nn

from pfedge.guarantees.isolated.model import IsolatedGraph
from pfedge.guarantees.masking import mask_logits, zero_masked


class StaticIsolatedGraph(nn.Module):
    """Rows do not see each other anyway."""

    def __init__(self, module: IsolatedGraph) -> None:
        super().__init__()
        self.module = module

    def forward(
        self, inputs: Tensor, prompts: Tensor, head_weight: Tensor, head_bias: Tensor, row_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits `[B, R_max]` and embedding `[B, E]`; see `StaticPromptGraph`."""
        logits, embedding = self.module(inputs, *zero_masked(row_mask, prompts, head_weight, head_bias))
        return mask_logits(row_mask, logits), embedding
