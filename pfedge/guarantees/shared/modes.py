"""Asking a model of guarantee `shared` under a choice of rows: its prompt modes, its full bank, one row at a time.

accuracy_by_mode(model, split, labels, seed=0, autocast=autocast)       # {"full_bank_shuffle": 0.96, ...}
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor

from pfedge.data import Split
from pfedge.guarantees.rows import RowLabels
from pfedge.guarantees.shared.model import PromptBankModel
from pfedge.guarantees.shared.prompting import MODES, choose_rows
from pfedge.training import set_thresholds

BATCH_SIZE = 64
Logits = NDArray[np.float32]


def tokens_of(
    model: PromptBankModel, split: Split, autocast: AbstractContextManager[Any], batch_size: int
) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    """Yield embedded inputs `[B, 1 + N, D]` and their labels, in evaluation mode, without gradients."""
    model.eval()
    for start in range(0, len(split), batch_size):
        index = np.arange(start, min(start + batch_size, len(split)))
        inputs = torch.from_numpy(split.batch(index, model.backbone.preprocess)).to(model.prompts.device)
        with torch.no_grad(), autocast:
            tokens = model.backbone.embed(inputs)
        yield tokens, split.labels[index]  # outside: a suspended generator must not hold the context open


def full_bank_logits(
    model: PromptBankModel,
    split: Split,
    *,
    autocast: AbstractContextManager[Any],
    batch_size: int = BATCH_SIZE,
    keep: Sequence[int] | None = None,
) -> Logits:
    """Return logits `[N, R]` with the prompts of the rows at positions `keep` (None: all) in bank order."""
    rows = torch.arange(len(model.class_ids)) if keep is None else torch.tensor(list(keep), dtype=torch.int64)
    chunks = []
    for tokens, _ in tokens_of(model, split, autocast, batch_size):
        with torch.no_grad(), autocast:
            chunks.append(model.score(tokens, rows.expand(len(tokens), -1)).float().cpu().numpy())
    return np.concatenate(chunks) if chunks else np.zeros((0, len(model.class_ids)), dtype=np.float32)


def accuracy_by_mode(
    model: PromptBankModel,
    split: Split,
    labels: RowLabels,
    *,
    seed: int,
    autocast: AbstractContextManager[Any],
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Return the accuracy in each of the reference's modes, over the images that have a row."""
    split = split.only(labels.class_ids)
    size = len(labels.class_ids)
    correct = dict.fromkeys((mode.name for mode in MODES), 0)
    generators = {name: torch.Generator().manual_seed(seed) for name in correct}
    bar = progress.add_task("modes", total=len(split)) if progress else None
    for tokens, ids in tokens_of(model, split, autocast, batch_size):
        target = labels.positions(ids)
        for name in correct:
            with torch.no_grad(), autocast:
                if name == "infer_best":
                    logits = infer_best(model, tokens)
                else:
                    rows = choose_rows(name, target, bank_size=size, generator=generators[name])
                    logits = model.score(tokens, rows)
            correct[name] += int((logits.argmax(1).cpu() == target).sum())
        if progress and bar is not None:
            progress.advance(bar, len(ids))
    if progress and bar is not None:
        progress.remove_task(bar)
    return {name: count / max(1, len(split)) for name, count in correct.items()}


def infer_best(model: PromptBankModel, tokens: Tensor) -> Tensor:
    """Return the elementwise maximum `[B, R]` over the R logit vectors under one row each."""
    each = [
        model.score(tokens, torch.full((len(tokens), 1), position, dtype=torch.int64))
        for position in range(len(model.class_ids))
    ]
    return torch.stack(each).amax(dim=0)


def predicted_classes(
    model: PromptBankModel, split: Split, *, autocast: AbstractContextManager[Any]
) -> NDArray[np.int64]:
    """Return the class ids `[N]` that the full bank gives."""
    predicted: NDArray[np.int64] = np.array(model.class_ids)[
        full_bank_logits(model, split, autocast=autocast).argmax(1)
    ]
    return predicted


def calibrate(model: PromptBankModel, split: Split, autocast: AbstractContextManager[Any]) -> None:
    """Set the thresholds of a model from a validation split; see `pfedge.training.set_thresholds`."""
    split = split.only(model.class_ids)
    own = RowLabels(model.class_ids).positions(split.labels).numpy()
    set_thresholds(model.threshold, full_bank_logits(model, split, autocast=autocast), own)
