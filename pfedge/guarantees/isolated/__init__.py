"""Guarantee `isolated`: a frozen backbone, and rows that see an input but never each other.

`model` is what is trained, `token_cache` what the backbone made of the data once, `train` the training on it.

It may import what lies below `pfedge.guarantees`, and this room's own common parts; it knows no other guarantee.
"""

from pfedge.guarantees.isolated.config import IsolatedConfig
from pfedge.guarantees.isolated.guarantee import Isolated
from pfedge.guarantees.isolated.model import IsolatedGraph, IsolatedModel, KeyValues
from pfedge.guarantees.isolated.token_cache import TokenCache
from pfedge.guarantees.isolated.train import isolated_logits, isolated_loss, train_isolated

__all__ = [
    "Isolated",
    "IsolatedConfig",
    "IsolatedGraph",
    "IsolatedModel",
    "KeyValues",
    "TokenCache",
    "isolated_logits",
    "isolated_loss",
    "train_isolated",
]
