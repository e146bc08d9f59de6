"""Guarantee `exact`: rows are sums of each class's own embeddings, so that dropping one is never having had it.

`model` is the frozen embedding and the bank, `train` one pass over the data and adding to what was summed before.

It may import what lies below `pfedge.guarantees`, and this room's own common parts; it knows no other guarantee.
"""

from pfedge.guarantees.exact.config import ExactConfig
from pfedge.guarantees.exact.guarantee import Exact
from pfedge.guarantees.exact.model import SCALE_BITS, ExactGraph, ExactModel, embed_split
from pfedge.guarantees.exact.train import Accumulator, add_rows, train_exact

__all__ = [
    "SCALE_BITS",
    "Accumulator",
    "Exact",
    "ExactConfig",
    "ExactGraph",
    "ExactModel",
    "add_rows",
    "embed_split",
    "train_exact",
]
