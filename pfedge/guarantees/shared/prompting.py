"""Which rows each sample gets: the prompt modes of arXiv 2509.15230.

A mode maps the labels of a batch to positions in the bank, one list of rows per sample, all of one length:

    generator = torch.Generator().manual_seed(0)
    rows = choose_rows("mixed_subset", labels, bank_size=8, generator=generator)   # int64 [B, n + 1]

`infer_best` is no choice of rows but a maximum over K passes; `pfedge.evaluation.forgetting` makes it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pfedge_runtime.errors import UsageError


@dataclass(frozen=True)
class Mode:
    """A prompt mode: what it shows, and whether it needs the true label (then no device can run it)."""

    name: str
    meaning: str
    needs_label: bool


MODES = (
    Mode("full_bank_shuffle", "all rows, in random order", needs_label=False),
    Mode("match_only", "only the true class's row", needs_label=True),
    Mode("mixed_subset", "a random number of wrong rows and the true one among them", needs_label=True),
    Mode("all_wrong", "all rows but the true class's", needs_label=True),
    Mode("wrong_subset", "a random number of wrong rows", needs_label=True),
    Mode("random_wrong", "one random wrong row", needs_label=True),
    Mode("none", "no row", needs_label=False),
    Mode("infer_best", "maximum over the K passes with one row each", needs_label=False),
)


def choose_rows(  # noqa: PLR0911 -- one return a mode
    mode: str, labels: Tensor, *, bank_size: int, generator: torch.Generator
) -> Tensor | None:
    """Return bank positions int64 `[B, n]` for labels `[B]` (positions too), or None for no rows.

    For `mixed_subset` and `wrong_subset` one size n is drawn uniformly from 0..K-1 per call; each sample
    gets n wrong rows in random order; `mixed_subset` inserts the true one at one position per call.

    Args:
        mode: `full_bank` (all rows in bank order) or a name in MODES but `infer_best`.
        labels: int64 `[B]`, the position in the bank of each sample's true row.
        bank_size: K.
        generator: source of randomness, on the CPU.

    Raises:
        UsageError: the mode is unknown.
    """
    count = len(labels)
    if mode == "none":
        return None
    if mode == "full_bank":
        return torch.arange(bank_size).expand(count, bank_size)
    if mode == "full_bank_shuffle":
        return torch.rand(count, bank_size, generator=generator).argsort(dim=1)
    true = labels[:, None]
    if mode == "match_only":
        return true
    if mode == "all_wrong":
        return _wrong(torch.arange(bank_size, dtype=torch.float32).repeat(count, 1), true) if bank_size > 1 else None
    wrong = _wrong(torch.rand(count, bank_size, generator=generator), true)
    if mode == "random_wrong":
        return wrong[:, :1] if bank_size > 1 else None
    size = int(torch.randint(0, bank_size, (), generator=generator))
    if mode == "wrong_subset":
        return wrong[:, :size] if size else None
    if mode == "mixed_subset":
        place = int(torch.randint(0, size + 1, (), generator=generator))
        return torch.cat([wrong[:, :place], true, wrong[:, place:size]], dim=1)
    message = f"unknown prompt mode {mode!r}; known are full_bank, {', '.join(known.name for known in MODES)}"
    raise UsageError(message)


def _wrong(keys: Tensor, true: Tensor) -> Tensor:
    """Return all positions but the true one `[B, K - 1]`, in the order of their keys `[B, K]`."""
    keys = keys.scatter(1, true, torch.inf)
    return keys.argsort(dim=1, stable=True)[:, :-1]
