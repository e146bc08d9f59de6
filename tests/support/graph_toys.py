"""The smallest module with the graph's signature, and a bank that fits it."""

from __future__ import annotations

import numpy as np
from torch import nn

from pfedge_runtime.bank import PromptBank


class Toy(nn.Module):
    """The smallest module with the signature: no transformer, but every input matters."""

    def __init__(self, width=6):
        super().__init__()
        self.project = nn.Linear(3, width)

    def forward(self, images, prompts, head_weight, head_bias):
        feature = self.project(images.float().mean((1, 2)) / 255) + prompts.flatten(0, 1).sum(0)
        return feature @ head_weight.T + head_bias


def bank(rows=4, tokens=2, width=6):
    rng = np.random.default_rng(0)
    return PromptBank(
        class_ids=tuple(range(rows)),
        prompts=rng.normal(size=(rows, tokens, width)).astype(np.float32),
        head_weight=rng.normal(size=(rows, width)).astype(np.float32),
        head_bias=rng.normal(size=rows).astype(np.float32),
        threshold=np.full(rows, -np.inf, np.float32),
    )
