"""Guarantee `exact` with fixed shapes."""

from __future__ import annotations

from torch import Tensor, nn

from pfedge.guarantees.exact.model import ExactGraph
from pfedge.guarantees.masking import mask_logits, zero_masked


class StaticExactGraph(nn.Module):
    """A head is all there is."""

    def __init__(self, module: ExactGraph) -> None:
        super().__init__()
        self.module = module

    def forward(
        self, inputs: Tensor, head_weight: Tensor, head_bias: Tensor, row_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits `[B, R_max]` and embedding `[B, E]`; see `StaticPromptGraph`."""
        logits, embedding = self.module(inputs, *zero_masked(row_mask, head_weight, head_bias))
        return mask_logits(row_mask, logits), embedding
