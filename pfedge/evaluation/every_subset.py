"""Forgetting every set of classes at once, where rows are independent or sums.

    scores = guarantee_of(run).scores(model, split, console)    # the backbone runs once
    evaluation = evaluate_every_subset(scores, split.labels)    # all 2**K - 2 proper subsets

What an input looks like is computed once; what a smaller bank makes of it is algebra. Nothing here runs a backbone.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pfedge.evaluation.forgetting import forget_sets, require_sizes
from pfedge.guarantees import Scores
from pfedge.ranking import auc
from pfedge_runtime.bank import decide

ALL_SUBSETS = 16


@dataclass(frozen=True)
class Forgotten:
    """What forgetting one set of classes does: accuracy on the others, by their rows alone."""

    forgotten: tuple[int, ...]
    retained: float


@dataclass(frozen=True)
class Abstention:
    """What happens to the inputs of one class when it alone is forgotten.

    Attributes:
        class_id: the class.
        auroc: probability that an input of another class is judged more acceptable than one of this class.
        abstained: share of its inputs that are abstained on.
        accepted: share of the other classes' inputs that are still accepted.
        abstained_at_95: share abstained on were the threshold put where 95 % of the others are accepted.
    """

    class_id: int
    auroc: float
    abstained: float
    accepted: float
    abstained_at_95: float


@dataclass(frozen=True)
class SubsetEvaluation:
    """The outcome.

    Attributes:
        accuracy: under the full bank.
        accepted: share of inputs accepted under the full bank.
        possible: k -> how many subsets of size k there are.
        subsets: k -> those evaluated.
        abstention: one entry a class.
        seconds: what the subsets took.
    """

    accuracy: float
    accepted: float
    possible: dict[int, int]
    subsets: dict[int, tuple[Forgotten, ...]]
    abstention: tuple[Abstention, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        by_size = {}
        for k, found in self.subsets.items():
            retained = [one.retained for one in found]
            worst = min(found, key=lambda one: one.retained)
            by_size[str(k)] = {
                "subsets": len(found),
                "possible": self.possible[k],
                "retain_mean": float(np.mean(retained)),
                "retain_std": float(np.std(retained)),
                "worst": asdict(worst),
            }
        return {
            "accuracy": self.accuracy,
            "accepted": self.accepted,
            "forgetting": by_size,
            "abstention": [asdict(one) for one in self.abstention],
            "seconds": round(self.seconds, 3),
        }


def evaluate_every_subset(
    scores: Scores,
    labels: NDArray[np.int64],
    *,
    sizes: Sequence[int] = (),
    limit: int = 1000,
    seed: int = 42,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> SubsetEvaluation:
    """Evaluate forgetting every proper subset of the bank's classes; above 16 classes, `limit` of each size.

    Args:
        scores: what the graph gives for any smaller bank.
        labels: class ids int64 `[N]`, each of a class that has a row.
        sizes: how many classes to forget; empty is every number from 1 to K - 1.
        limit: subsets of each size where there are too many to evaluate all.
        seed: of the sample.
        on_progress: called with subsets done and their number.

    Raises:
        UsageError: a size would leave no row, or forget none.
    """
    ids = scores.bank.class_ids
    require_sizes(sizes, len(ids))
    limit = 0 if len(ids) <= ALL_SUBSETS else limit
    started = time.perf_counter()
    sets = {k: forget_sets(ids, k, limit=limit, seed=seed) for k in sizes or range(1, len(ids))}
    total, done = sum(map(len, sets.values())), itertools.count(1)
    subsets = {}
    # many small matrices: one a thread beats threads in one, and more threads than cores only wait for each other
    with ThreadPoolExecutor(torch.get_num_threads()) as pool, threadpool_limits(1):
        for k, of_size in sets.items():
            found = []
            for forgotten, retained in zip(of_size, pool.map(partial(_retained, scores, labels), of_size), strict=True):
                found.append(Forgotten(forgotten, retained))
                on_progress(next(done), total)
            subsets[k] = tuple(found)
    seconds = time.perf_counter() - started
    full = decide(scores.bank, scores.logits(scores.bank), scores.embedding)
    return SubsetEvaluation(
        accuracy=float((np.array(ids)[full.winner] == labels).mean()),
        accepted=float(full.accepted.mean()),
        possible={k: math.comb(len(ids), k) for k in sets},
        subsets=subsets,
        abstention=tuple(abstention(scores, labels, class_id) for class_id in ids) if len(ids) > 1 else (),
        seconds=seconds,
    )


def abstention(scores: Scores, labels: NDArray[np.int64], class_id: int) -> Abstention:
    """Forget one class and see which inputs are abstained on."""
    bank = scores.bank.drop({class_id})
    decisions = decide(bank, scores.logits(bank), scores.embedding)
    own = labels == class_id
    margin = decisions.score
    at_95 = np.quantile(margin[~own], 0.05, method="lower") if (~own).any() else -np.inf
    both = own.any() and (~own).any()
    return Abstention(
        class_id=class_id,
        auroc=auc(margin, ~own) if both else math.nan,
        abstained=_share(~decisions.accepted[own]),
        accepted=_share(decisions.accepted[~own]),
        abstained_at_95=_share(margin[own] < at_95),
    )


def _retained(scores: Scores, labels: NDArray[np.int64], forgotten: Sequence[int]) -> float:
    bank = scores.bank.drop(forgotten)
    keep = ~np.isin(labels, forgotten)
    named = np.array(bank.class_ids)[scores.logits(bank)[keep].argmax(axis=1)]
    return _share(named == labels[keep])


def _share(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else math.nan
