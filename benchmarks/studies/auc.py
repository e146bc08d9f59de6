"""Time of one area under a ROC curve: ours, by SciPy's ranks, and scikit-learn's.

python benchmarks/studies/auc.py [--inputs 600] [--rounds 200]     # writes benchmarks/results/auc.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sklearn
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from pfedge.ranking import auc
from pfedge_runtime.bench import machine

RESULTS = Path(__file__).parents[1] / "results" / "auc.json"


def main() -> None:
    """Time the contenders in turns, and write and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=200)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    scores, positive = rng.normal(size=asked.inputs), rng.random(asked.inputs) < 0.5

    def by_ranks() -> float:
        count = np.count_nonzero(positive)
        above = rankdata(scores)[positive].sum() - count * (count + 1) / 2
        return float(above / (count * (len(scores) - count)))

    def unchecked() -> float:
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            return float(roc_auc_score(positive, scores))

    ways: dict[str, Callable[[], float]] = {
        "ours": lambda: auc(scores, positive),
        "scipy.stats.rankdata": by_ranks,
        "sklearn.metrics.roc_auc_score": lambda: float(roc_auc_score(positive, scores)),
        "the same, its checks switched off": unchecked,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(asked.rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            value = way()
            found[name].append((time.perf_counter() - begun) * 1000)
            assert abs(value - ways["ours"]()) < 1e-12, name
    result = {
        "machine": machine(),
        "inputs": asked.inputs,
        "rounds": asked.rounds,
        "median_ms": {name: round(float(np.median(times)), 4) for name, times in found.items()},
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["median_ms"], indent=2))


if __name__ == "__main__":
    main()
