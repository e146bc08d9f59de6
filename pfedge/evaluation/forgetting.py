"""What forgetting does to every subset of classes, where each smaller bank needs a pass of its own (`shared`).

    evaluate_forgetting(model, split, labels, ...)     # one ForgettingAtK for k = 1, K // 2, K - 1

A forgotten class is counted in two ways. *Prompt dropped only* is the paper's: the row's prompt is gone from
the input, its head vector is still there and may still answer. *Row dropped* is what `pfedge forget` does: the
class has no output left, so its images can only be misnamed or abstained on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress

from pfedge.data import Split
from pfedge.guarantees import RowLabels
from pfedge.guarantees.shared import PromptBankModel, tokens_of
from pfedge_runtime.errors import UsageError

BATCH_SIZE = 64
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Subset:
    """What forgetting one set of classes does.

    Attributes:
        forgotten: the class ids.
        forget_prompt: accuracy on the forgotten classes, prompt dropped only.
        retain_prompt: accuracy on the others, prompt dropped only.
        retain_row: accuracy on the others, row dropped. (On the forgotten ones it is 0: they have no output.)
        own_probability: mean probability of their own class on forgotten images, prompt dropped only.
    """

    forgotten: tuple[int, ...]
    forget_prompt: float
    retain_prompt: float
    retain_row: float
    own_probability: float


@dataclass(frozen=True)
class ForgettingAtK:
    """All evaluated subsets of size k, of `possible` that there are."""

    k: int
    possible: int
    subsets: tuple[Subset, ...]

    def reference_layout(self) -> dict[str, float]:
        """Return the reference implementation's four numbers, prompt dropped only."""
        forget = [subset.forget_prompt for subset in self.subsets]
        retain = [subset.retain_prompt for subset in self.subsets]
        return {
            "forget_mean": float(np.mean(forget)),
            "forget_std": float(np.std(forget)),
            "retain_mean": float(np.mean(retain)),
            "retain_std": float(np.std(retain)),
        }

    def row_dropped(self) -> dict[str, float]:
        """Return the same four numbers, row dropped; the forgotten classes have no output, hence 0."""
        retain = [subset.retain_row for subset in self.subsets]
        return {
            "forget_mean": 0.0,
            "forget_std": 0.0,
            "retain_mean": float(np.mean(retain)),
            "retain_std": float(np.std(retain)),
        }

    def worst(self) -> Subset:
        """Return the subset whose forgotten classes are still named most often, prompt dropped only."""
        return max(self.subsets, key=lambda subset: subset.forget_prompt)


def forget_sizes(bank_size: int) -> list[int]:
    """Return the reference's k: 1, K // 2 and K - 1, without repetition and never all K.

    >>> forget_sizes(8), forget_sizes(2), forget_sizes(1)
    ([1, 4, 7], [1], [])
    """
    return sorted({k for k in (1, bank_size // 2, bank_size - 1) if 1 <= k < bank_size})


def require_sizes(sizes: Sequence[int], bank_size: int) -> None:
    """Check that so many classes can be forgotten.

    Raises:
        UsageError: a size would leave no row, or forget none.
    """
    wrong = [k for k in sizes if not 1 <= k < bank_size]
    if wrong:
        message = f"cannot forget {wrong} of {bank_size} classes: choose 1 to {bank_size - 1}"
        raise UsageError(message)


def forget_sets(class_ids: Sequence[int], k: int, *, limit: int, seed: int) -> list[tuple[int, ...]]:
    """Return all subsets of size k, or `limit` random distinct ones where there are more (0: no limit)."""
    possible = math.comb(len(class_ids), k)
    if not limit or possible <= limit:
        return list(itertools.combinations(class_ids, k))
    rng = np.random.default_rng((seed, k))
    chosen: set[tuple[int, ...]] = set()
    while len(chosen) < limit:
        chosen.add(tuple(sorted(rng.choice(class_ids, size=k, replace=False).tolist())))
    return sorted(chosen)


def evaluate_forgetting(
    model: PromptBankModel,
    split: Split,
    labels: RowLabels,
    *,
    autocast: AbstractContextManager[Any],
    batch_size: int = BATCH_SIZE,
    sizes: Sequence[int] = (),
    limit: int = 0,
    seed: int = 42,
    progress: Progress | None = None,
) -> list[ForgettingAtK]:
    """Evaluate forgetting k classes, over all subsets or `limit` random ones of each size.

    Args:
        model: the model.
        split: labelled images; those without a row are left out.
        labels: its classes.
        autocast: the precision.
        batch_size: images a pass.
        sizes: the k to evaluate; empty is the reference's 1, K // 2 and K - 1.
        limit: above so many subsets of a size, a sample; 0 is never.
        seed: of the sample.
        progress: where to show progress.

    Raises:
        UsageError: a size would leave no row, or forget none.
    """
    require_sizes(sizes, len(labels.class_ids))
    split = split.only(labels.class_ids)
    embedded = list(tokens_of(model, split, autocast, batch_size)) if _fits(model, split) else None
    results = []
    for k in sizes or forget_sizes(len(labels.class_ids)):
        sets = forget_sets(labels.class_ids, k, limit=limit, seed=seed)
        bar = progress.add_task(f"forgetting k={k}", total=len(sets)) if progress else None
        subsets = []
        for forgotten in sets:
            keep = [p for p, class_id in enumerate(labels.class_ids) if class_id not in forgotten]
            rows = torch.tensor(keep)
            chunks = []
            for tokens, _ in embedded if embedded is not None else tokens_of(model, split, autocast, batch_size):
                with torch.no_grad(), autocast:
                    chunks.append(model.score(tokens, rows.expand(len(tokens), -1)).float().cpu().numpy())
            subsets.append(
                count_subset(np.concatenate(chunks), labels.positions(split.labels).numpy(), keep, forgotten)
            )
            if progress and bar is not None:
                progress.advance(bar)
        results.append(ForgettingAtK(k, math.comb(len(labels.class_ids), k), tuple(subsets)))
    return results


def count_subset(logits: Logits, target: NDArray[np.int64], keep: Sequence[int], forgotten: tuple[int, ...]) -> Subset:
    """Count one subset both ways from logits `[N, R]`, true positions `[N]` and the positions kept."""
    kept = np.array(keep)
    retained = np.isin(target, kept)
    by_prompt = logits.argmax(1) == target
    by_row = kept[logits[:, kept].argmax(1)] == target
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    own = shifted[np.arange(len(target)), target] / shifted.sum(1)
    return Subset(
        forgotten=forgotten,
        forget_prompt=_mean(by_prompt[~retained]),
        retain_prompt=_mean(by_prompt[retained]),
        retain_row=_mean(by_row[retained]),
        own_probability=_mean(own[~retained]),
    )


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _fits(model: PromptBankModel, split: Split, budget: int = 2 * 2**30) -> bool:
    """Whether the embedded images of a split fit in memory."""
    return bool(len(split) * model.backbone.tokens * model.backbone.width * 4 <= budget)
