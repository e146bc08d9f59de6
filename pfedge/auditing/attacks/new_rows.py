"""New rows for a class, in a model that has no row of it: training one, and asking with one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from numpy.typing import NDArray

from pfedge.guarantees import BATCH, Index, NewRow, Subject

STEPS = (0, 1, 2, 4, 8, 16, 32)
POSITIVES = NEGATIVES = 8  # inputs a step

Array = NDArray[Any]


def train_row(subject: Subject, row: NewRow, batches: list[tuple[Index, Index]]) -> Iterator[int]:
    """Train a row, pausing at each of `STEPS`."""
    optimizer = torch.optim.Adam(row.parameters(), lr=subject.lr)
    yield 0
    for step, (inputs, target) in enumerate(batches, start=1):
        logits = subject.score(inputs, row)
        loss = subject.loss(logits, torch.from_numpy(target).to(logits.device))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if step in STEPS:
            yield step


@torch.no_grad()
def logits_of(subject: Subject, index: Index, row: NewRow | None = None) -> Array:
    """Return logits `[n, R]`, or `[n, R + 1]` with a new row."""
    parts = [subject.score(index[at : at + BATCH], row).float().cpu() for at in range(0, len(index), BATCH)]
    return torch.cat(parts).numpy()


def named_by(subject: Subject, index: Index, column: int, row: NewRow | None = None) -> Array:
    """Return bool `[n]`: whether the row of that column answers."""
    named: Array = logits_of(subject, index, row).argmax(axis=1) == column
    return named
