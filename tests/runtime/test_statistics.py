from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfedge_runtime.bank import RowStatistics, quantise, summarise
from pfedge_runtime.bank.statistics import unpack
from pfedge_runtime.errors import BankError

inputs = st.builds(
    lambda seed, count, width, scale: np.random.default_rng(seed).normal(0, scale, (count, width)).astype(np.float32),
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.integers(1, 12),
    st.sampled_from([1e-3, 1.0, 50.0]),
)


@settings(max_examples=60, deadline=None)
@given(embedding=inputs, bits=st.integers(0, 16))
def test_sums_are_those_of_whole_numbers(embedding, bits):
    grid = quantise(embedding, bits)
    row = summarise(grid)
    exact = grid.astype(object)
    assert row.count == len(grid)
    assert row.sum.tolist() == exact.sum(axis=0).tolist()
    outer = sum(np.outer(vector, vector) for vector in exact)
    assert row.outer.tolist() == [outer[i][j] for i in range(len(outer)) for j in range(i, len(outer))]


@settings(max_examples=40, deadline=None)
@given(embedding=inputs, seed=st.integers(0, 1000), pieces=st.integers(1, 5))
def test_order_and_pieces_do_not_matter(embedding, seed, pieces):
    grid = quantise(embedding, 12)
    shuffled = np.random.default_rng(seed).permutation(grid)
    parts = [summarise(part) for part in np.array_split(shuffled, pieces) if len(part)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert total.digest == summarise(grid).digest


def test_products_larger_than_a_float_can_hold_are_summed_exactly():
    grid = np.full((7, 2), 2**26 + 1, dtype=np.int64)  # one product is above 2**52
    assert summarise(grid).outer.tolist() == [7 * (2**26 + 1) ** 2] * 3


def test_the_grid_rounds_to_even():
    assert quantise(np.array([[0.5, 1.5, -0.5, -1.5]], np.float32), 0).tolist() == [[0, 2, 0, -2]]


def test_values_that_are_not_finite_or_too_large_are_refused():
    with pytest.raises(BankError, match="not finite"):
        quantise(np.array([[np.nan]], np.float32), 12)
    with pytest.raises(BankError, match="too large for a grid"):
        quantise(np.array([[2.0**20]], np.float32), 12)


def test_sums_that_would_overflow_are_refused_before_they_do():
    with pytest.raises(BankError, match="would not fit 64 bits"):
        summarise(np.full((10, 1), 2**30, dtype=np.int64) * 2)
    half = RowStatistics(1, np.array([2**30]), np.array([2**61]))
    with pytest.raises(BankError, match="would not fit 64 bits"):
        half + half


def test_a_triangle_becomes_a_symmetric_matrix():
    assert unpack(np.array([1.0, 2, 3, 4, 5, 6]), 3).tolist() == [[1, 2, 3], [2, 4, 5], [3, 5, 6]]
