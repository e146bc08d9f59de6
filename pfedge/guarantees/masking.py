"""The same model with fixed shapes, for targets that need them: rows are masked, not dropped.

    module = GUARANTEES[name].static_graph(model)
    logits = module(inputs, prompts, head_weight, head_bias, row_mask)      # float32 [B, R_max]

A zero row still takes part in attention; a masked one does not, whatever junk stands in it, and its logit is -inf.
"""

from __future__ import annotations

import torch
from torch import Tensor


def zero_masked(row_mask: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
    """Return parts of rows with zeros where a row is masked: junk that is not finite would spread as 0 times it."""
    return tuple(torch.where(row_mask.reshape(-1, *[1] * (part.dim() - 1)), part, 0.0) for part in parts)


def mask_logits(row_mask: Tensor, logits: Tensor) -> Tensor:
    """Return logits `[B, R_max]`, -inf where `row_mask`, bool `[R_max]`, is False."""
    return torch.where(row_mask[None], logits, -torch.inf)
