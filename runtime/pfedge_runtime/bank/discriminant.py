"""What follows from statistics: a linear head, and how typical an input is of a class.

    weight, bias = solve_head(Moments.of(rows, scale_bits=12), shrinkage=0.1)

The head is linear discriminant analysis (Hastie, Tibshirani, Friedman, *The Elements of Statistical Learning*, section
4.3): one covariance for all classes, pooled within them and shrunk towards a multiple of the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.bank.statistics import Doubles, RowStatistics, diagonal, unpack
from pfedge_runtime.errors import BankError

BLOCK = 48  # rows factored at a time: at E = 768, 24 to 64 take the same time


@dataclass(frozen=True, eq=False)
class Moments:
    """What the head and typicality are computed from, in float64 and the embedding's own units.

    Attributes:
        count: `[K]`.
        mean: `[K, E]`.
        outer: K symmetric matrices `[E, E]`, each made when asked for: the sum of outer products.
    """

    count: Doubles
    mean: Doubles
    rows: Sequence[RowStatistics]
    scale: float

    @classmethod
    def of(cls, rows: Sequence[RowStatistics], scale_bits: int) -> Moments:
        """Take the moments of classes, in order."""
        scale = 2.0**-scale_bits
        count = np.array([row.count for row in rows], dtype=np.float64)
        mean = np.stack([row.sum.astype(np.float64) for row in rows]) * scale / count[:, None]
        return cls(count, mean, rows, scale)

    def scatter(self, position: int) -> Doubles:
        """Return the scatter `[E, E]` of a class about its own mean."""
        mean = self.mean[position]
        outer = unpack(self.rows[position].outer.astype(np.float64) * self.scale**2, len(mean))
        scatter: Doubles = outer - self.count[position] * np.outer(mean, mean)
        return scatter

    def total(self) -> Doubles:
        """Return the sum of outer products of all inputs, packed; integers are summed before they are floats."""
        total = self.rows[0].outer.copy()
        for row in self.rows[1:]:
            total += row.outer
        return total.astype(np.float64) * self.scale**2

    def weighted(self) -> Doubles:
        """Return `[K, E]`: the means, by the root of how many inputs they stand for."""
        weighted: Doubles = self.mean * np.sqrt(self.count)[:, None]
        return weighted

    def within(self) -> Doubles:
        """Return the scatter `[E, E]` of all classes about their means."""
        weighted = self.weighted()
        scatter: Doubles = unpack(self.total(), self.mean.shape[1]) - weighted.T @ weighted
        return scatter

    def centre(self) -> Doubles:
        """Return the mean `[E]` of all inputs."""
        centre: Doubles = self.count @ self.mean / self.count.sum()
        return centre


def solve_head(moments: Moments, shrinkage: float) -> tuple[Doubles, Doubles]:
    """Return weight `[K, E]` and bias `[K]` of linear discriminant analysis.

    With the class means taken from the mean m of all inputs, `W = (mean - m) inv(cov)` and
    `b = -W . (mean + m) / 2 + log prior`; cov is the pooled covariance within classes, shrunk. Taking the means from m
    moves all logits of an input alike, so that no decision changes and the logits stay small.

    Raises:
        BankError: the covariance cannot be inverted.
    """
    width, centre = moments.mean.shape[1], moments.centre()
    scale = 1 / max(1.0, moments.count.sum() - len(moments.count))
    total, weighted = moments.total(), moments.weighted()
    trace = (total[diagonal(width)].sum() - (weighted**2).sum()) * scale
    total *= scale * (1 - shrinkage)
    total[diagonal(width)] += shrinkage * trace / width
    try:
        weight = solve_packed(total, weighted * np.sqrt(scale * (1 - shrinkage)), (moments.mean - centre).T).T
    except np.linalg.LinAlgError:
        weight = np.full_like(moments.mean, np.nan)
    if not np.isfinite(weight).all():
        message = (
            f"the statistics of {int(moments.count.sum())} inputs in {len(moments.count)} classes cannot be inverted "
            f"in {moments.mean.shape[1]} dimensions: train with more inputs, a smaller --embedding-dim, or --shrinkage "
            f"above {shrinkage}"
        )
        raise BankError(message)
    bias: Doubles = -(weight * (moments.mean + centre)).sum(axis=1) / 2 + np.log(moments.count / moments.count.sum())
    return weight, bias


def solve_packed(packed: Doubles, less: Doubles, right: Doubles) -> Doubles:
    """Return `x` `[E, K]` of `(A - less' less) x = right`, A given by its upper triangle row by row.

    Cholesky's factorisation `U' U`, left-looking: rows of A are unpacked when their block's turn comes, and both `less`
    `[M, E]` and `right` `[E, K]` ride along in the one matrix product of each block (Golub and Van Loan, *Matrix
    Computations*, section 4.2). NumPy's and SciPy's take two to four times as long: docs/adr/0014.

    Raises:
        LinAlgError: the matrix is not positive definite.
    """
    # For the rows r of a block, A - less' less = U' U says U_rr' U_r = A_r - less_r' less - (the rows of U above)_r' U.
    # With `less` stacked on the rows of U that are done, what is taken from A_r is one product of two parts of that
    # stack. `right` stands as further columns right of A: what is left there is y of U' y = right.
    offset, width = less.shape
    done = np.zeros((offset + width, width + right.shape[1]))  # `less`, then U and, right of it, the solved `right`
    done[:offset, :width] = less
    starts, inverses = range(0, width, BLOCK), []
    taken = 0
    for start in starts:
        stop = min(start + BLOCK, width)
        panel = np.zeros((stop - start, done.shape[1] - start))
        for row in range(stop - start):
            length = width - start - row
            panel[row, row : row + length] = packed[taken : taken + length]
            taken += length
        panel[:, width - start :] = right[start:stop]
        above = done[: offset + start, start:]
        panel -= above[:, : stop - start].T @ above
        own = panel[:, : stop - start]  # its upper triangle is right, its lower one was never filled in
        inverses.append(np.linalg.inv(np.linalg.cholesky(own.T)))  # of U_rr'; NumPy reads the lower triangle alone
        done[offset + start : offset + stop, start:] = inverses[-1] @ panel
    factor, solved = done[offset:, :width], done[offset:, width:].copy()  # what is left: U x = y, from the last row up
    for start, inverse_of in zip(reversed(starts), reversed(inverses), strict=True):
        block, rest = slice(start, start + BLOCK), slice(start + BLOCK, None)
        solved[block] = inverse_of.T @ (solved[block] - factor[block, rest] @ solved[rest])
    return solved


def shrink(covariance: Doubles, share: float) -> Doubles:
    """Return `(1 - share) covariance + share trace(covariance) / E` times the identity."""
    width = len(covariance)
    shrunk = (1 - share) * covariance
    shrunk[np.diag_indices(width)] += share * np.trace(covariance) / width
    return shrunk


def inverse(matrix: Doubles) -> Doubles:
    """Return the inverse of a positive definite matrix."""
    return np.linalg.inv(matrix).astype(np.float64)


class Typicality:
    """How typical an input is of a class rather than of all that is known: relative Mahalanobis distance.

    The score is `(x - m)' inv(T) (x - m) - (x - m_c)' inv(C) (x - m_c)` with the mean m and covariance T of all
    inputs, the mean m_c of the class and the covariance C within classes, both shrunk by a half (Ren et al., arXiv
    2106.09022). A row's threshold is in standard units of its class's own inputs: how far above their mean, in standard
    deviations. Mean and deviation follow from the class's statistics under a normal distribution, corrected for each
    input having helped to estimate the covariance it is measured with (leave-one-out, Sherman-Morrison).
    """

    SHRINKAGE = 0.5

    def __init__(self, moments: Moments) -> None:
        """Invert the covariances; what belongs to a class is computed when it first wins."""
        self._moments = moments
        total, classes = float(moments.count.sum()), len(moments.count)
        within, centred = moments.within(), moments.mean - moments.centre()
        between = (centred * moments.count[:, None]).T @ centred
        self._free = max(1.0, total - classes), max(1.0, total - 1)
        self._own: Doubles = inverse(shrink(within / self._free[0] + _ridge(within), self.SHRINKAGE))
        self._all: Doubles = inverse(shrink((within + between) / self._free[1] + _ridge(within), self.SHRINKAGE))
        self._centred = centred
        self._expected: dict[int, tuple[float, float]] = {}

    def score(self, winner: NDArray[np.int64], embedding: Doubles) -> Doubles:
        """Return the score `[B]` of inputs `[B, E]` for the classes at positions `winner` `[B]`."""
        from_all, from_own = embedding - self._moments.centre(), embedding - self._moments.mean[winner]
        return _quadratic(from_all, self._all) - _quadratic(from_own, self._own)

    def threshold(self, position: int, standard: float) -> float:
        """Return the score that is `standard` deviations above the mean of a class's own inputs."""
        if standard == -np.inf:
            return standard
        mean, deviation = self._expect(position)
        return mean + standard * deviation

    def _expect(self, position: int) -> tuple[float, float]:
        """Return mean and standard deviation of a class's own score."""
        if position not in self._expected:
            shift = self._centred[position]
            spread = self._moments.scatter(position) / max(1.0, self._moments.count[position] - 1)
            distance_own = float(np.vdot(self._own, spread))
            distance_all = float(np.vdot(self._all, spread) + shift @ self._all @ shift)
            grow_own = _leave_one_out(distance_own, self.SHRINKAGE, self._free[0])
            grow_all = _leave_one_out(distance_all, self.SHRINKAGE, self._free[1])
            form = (grow_all**2 * self._all - grow_own**2 * self._own) @ spread
            slope = 2 * grow_all**2 * self._all @ shift
            variance = 2 * float(np.vdot(form, form.T)) + float(slope @ spread @ slope)
            mean = distance_all * grow_all - distance_own * grow_own
            self._expected[position] = mean, float(np.sqrt(variance))
        return self._expected[position]


def own_threshold(row: RowStatistics, embedding: NDArray[np.float32], scale_bits: int, *, acceptance: float) -> float:
    """Return the standard score that a share `acceptance` of inputs `[n, E]` of a row's own class reaches.

    Only that row's statistics and inputs of its class are used: the score is the Mahalanobis distance in the row's
    own covariance. Thresholds must be functions of their row, or banks with and without another would differ; that
    a standard score of this distance is one of typicality too is an approximation, which `pfedge eval` measures.
    """
    if row.count < 2 or not len(embedding):  # noqa: PLR2004 -- a spread needs two
        return -np.inf
    moments = Moments.of([row], scale_bits)
    spread = moments.scatter(0) / (row.count - 1)
    own: Doubles = inverse(shrink(spread + _ridge(spread), Typicality.SHRINKAGE))
    distance = float(np.vdot(own, spread))
    grow = _leave_one_out(distance, Typicality.SHRINKAGE, row.count - 1)
    form = grow**2 * own @ spread
    deviation = float(np.sqrt(2 * np.vdot(form, form.T))) or np.inf
    scores = (distance * grow - _quadratic(embedding.astype(np.float64) - moments.mean[0], own)) / deviation
    return float(np.quantile(scores, 1 - acceptance, method="lower"))


def _quadratic(vectors: Doubles, matrix: Doubles) -> Doubles:
    result: Doubles = np.einsum("ij,ij->i", vectors @ matrix, vectors)
    return result


def _leave_one_out(distance: float, shrinkage: float, free: float) -> float:
    """Return by how much a mean distance grows when an input is left out of the covariance it is measured with."""
    return 1 / max(0.1, 1 - (1 - shrinkage) * distance / free)


def _ridge(scatter: Doubles) -> Doubles:
    """Return a multiple of the identity that makes a zero scatter (one input a class) invertible."""
    return np.eye(len(scatter)) * (1e-9 if np.trace(scatter) <= 0 else 0.0)
