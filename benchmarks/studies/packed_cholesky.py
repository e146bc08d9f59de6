"""How long one head of guarantee `exact` takes: pfedge's packed Cholesky beside NumPy's and SciPy's.

    OMP_NUM_THREADS=1 python benchmarks/studies/packed_cholesky.py --out benchmarks/results/packed_cholesky.json

Each way is given what the bank has: the packed sum of outer products, the weighted class means, and the centred means.
Unpacking is part of a way that needs it, and so is noticing that the matrix is not positive definite, which LU does not
notice. Ways take turns, so that what else the machine does slows down all of them;
the best and the median of each are kept. SciPy is none of the runtime's dependencies and is measured where it is there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.bank.discriminant import solve_packed
from pfedge_runtime.bank.statistics import unpack
from pfedge_runtime.bench import machine

Doubles = NDArray[np.float64]
Way = Callable[[Doubles, Doubles, Doubles], Doubles]


def numpy_unchecked(packed: Doubles, less: Doubles, right: Doubles) -> Doubles:
    """`numpy.linalg.solve`, LU of the whole matrix, whether or not it is positive definite."""
    return np.linalg.solve(unpack(packed, less.shape[1]) - less.T @ less, right)


def numpy_solve(packed: Doubles, less: Doubles, right: Doubles) -> Doubles:
    """`numpy.linalg.solve`, once `numpy.linalg.cholesky` found the matrix to be positive definite."""
    matrix = unpack(packed, less.shape[1]) - less.T @ less
    np.linalg.cholesky(matrix)
    return np.linalg.solve(matrix, right)


def numpy_cholesky(packed: Doubles, less: Doubles, right: Doubles) -> Doubles:
    """`numpy.linalg.cholesky`, and as NumPy has no triangular solver, LU of its factor, twice."""
    factor = np.linalg.cholesky(unpack(packed, less.shape[1]) - less.T @ less)
    return np.linalg.solve(factor.T, np.linalg.solve(factor, right))


def scipy_cholesky(packed: Doubles, less: Doubles, right: Doubles) -> Doubles:
    """`scipy.linalg.cho_factor` and `cho_solve` (LAPACK's potrf and potrs)."""
    from scipy.linalg import cho_factor, cho_solve

    matrix = unpack(packed, less.shape[1]) - less.T @ less
    return cho_solve(cho_factor(matrix, overwrite_a=True, check_finite=False), right, check_finite=False)


def scipy_packed(packed: Doubles, less: Doubles, right: Doubles) -> Doubles:
    """LAPACK's pptrf and pptrs through SciPy: the matrix stays packed."""
    from scipy.linalg.lapack import dpptrf, dpptrs

    width = less.shape[1]
    matrix = packed - (less.T @ less)[np.triu_indices(width)]
    factor, failed = dpptrf(width, matrix, lower=1)  # rows of the upper triangle are columns of the lower one
    if failed:
        raise np.linalg.LinAlgError
    return dpptrs(width, factor, right, lower=1)[0]


WAYS: dict[str, Way] = {
    "pfedge, packed": solve_packed,
    "numpy.linalg.solve, unchecked": numpy_unchecked,
    "numpy.linalg.cholesky, then solve": numpy_solve,
    "numpy.linalg.cholesky, its factor solved twice": numpy_cholesky,
    "scipy.linalg.cho_factor": scipy_cholesky,
    "scipy.linalg.lapack.dpptrf": scipy_packed,
}


def problem(width: int, classes: int, inputs: int) -> tuple[Doubles, Doubles, Doubles]:
    """Return a head's equations as `solve_head` puts them, of made-up embeddings of `inputs` images a class."""
    rng = np.random.default_rng(0)
    total = np.zeros((width, width))
    means = []
    for _ in range(classes):
        embedding = rng.normal(size=(inputs, width)) + rng.normal(size=width)
        total += embedding.T @ embedding
        means.append(embedding.mean(axis=0))
    mean = np.stack(means)
    total[np.diag_indices(width)] += 0.1 * np.trace(total) / width
    return total[np.triu_indices(width)], mean * np.sqrt(inputs), (mean - mean.mean(axis=0)).T


def main() -> None:
    """Measure every way and write a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--inputs", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    given = problem(options.width, options.classes, options.inputs)
    reference = numpy_unchecked(*given)
    seconds: dict[str, list[float]] = {}
    difference: dict[str, float] = {}
    for _ in range(options.rounds):
        for name, way in WAYS.items():
            try:
                started = time.perf_counter()
                found = way(*given)
                seconds.setdefault(name, []).append(time.perf_counter() - started)
            except ImportError:
                continue
            difference[name] = float(np.abs(found - reference).max() / np.abs(reference).max())
    table = {
        name: {
            "best_ms": round(1000 * min(times), 2),
            "median_ms": round(1000 * statistics.median(times), 2),
            "relative_difference": difference[name],
        }
        for name, times in seconds.items()
    }
    settings = {name: getattr(options, name) for name in ("width", "classes", "inputs", "rounds")}
    settings["threads"] = os.environ.get("OMP_NUM_THREADS", "all")
    report = {"machine": machine(), "settings": settings, "ways": table}
    text = json.dumps(report, indent=2) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
