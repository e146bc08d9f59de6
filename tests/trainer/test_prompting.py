from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pfedge.guarantees.shared import MODES, choose_rows
from pfedge_runtime.errors import UsageError

sizes = st.integers(1, 9)
seeds = st.integers(0, 2**32)


def draw(mode, bank_size, seed, batch=7):
    labels = torch.arange(batch) % bank_size
    rows = choose_rows(mode, labels, bank_size=bank_size, generator=torch.Generator().manual_seed(seed))
    return labels, rows


@given(sizes, seeds)
def test_full_bank_shuffle_is_a_permutation(size, seed):
    _, rows = draw("full_bank_shuffle", size, seed)
    assert torch.equal(rows.sort(dim=1).values, torch.arange(size).expand_as(rows))


@given(sizes, seeds)
def test_mixed_subset_has_the_true_row_once_and_no_row_twice(size, seed):
    labels, rows = draw("mixed_subset", size, seed)
    assert 1 <= rows.shape[1] <= size
    assert ((rows == labels[:, None]).sum(dim=1) == 1).all()
    assert all(len(set(row)) == len(row) for row in rows.tolist())


@given(sizes, seeds)
def test_the_true_row_stands_at_one_place_per_batch(size, seed):
    labels, rows = draw("mixed_subset", size, seed)
    places = (rows == labels[:, None]).int().argmax(dim=1)
    assert len(set(places.tolist())) == 1


@given(sizes, seeds, st.sampled_from(["wrong_subset", "all_wrong", "random_wrong"]))
def test_wrong_modes_never_show_the_true_row(size, seed, mode):
    labels, rows = draw(mode, size, seed)
    if rows is None:
        assert mode == "wrong_subset" or size == 1
        return
    assert not (rows == labels[:, None]).any()
    assert all(len(set(row)) == len(row) for row in rows.tolist())
    if mode == "all_wrong":
        assert rows.shape[1] == size - 1
    if mode == "random_wrong":
        assert rows.shape[1] == 1


def test_every_subset_size_is_drawn_equally_often():
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(1, dtype=torch.int64)
    counts = {mode: [0] * 4 for mode in ("mixed_subset", "wrong_subset")}
    for mode, count in counts.items():
        for _ in range(2000):
            rows = choose_rows(mode, labels, bank_size=4, generator=generator)
            count[0 if rows is None else rows.shape[1] - (mode == "mixed_subset")] += 1
    for count in counts.values():
        assert all(abs(number - 500) < 80 for number in count), counts


def test_every_wrong_row_and_every_place_is_drawn():
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(64, dtype=torch.int64)
    seen = {
        tuple(row)
        for _ in range(200)
        for row in choose_rows("mixed_subset", labels, bank_size=3, generator=generator).tolist()
    }
    assert seen == {
        (0,),
        (0, 1),
        (1, 0),
        (0, 2),
        (2, 0),
        (0, 1, 2),
        (0, 2, 1),
        (1, 0, 2),
        (2, 0, 1),
        (1, 2, 0),
        (2, 1, 0),
    }


def test_simple_modes():
    labels, rows = draw("match_only", 5, 0)
    assert torch.equal(rows[:, 0], labels)
    assert draw("none", 5, 0)[1] is None
    assert draw("full_bank", 3, 0, batch=2)[1].tolist() == [[0, 1, 2], [0, 1, 2]]


def test_the_eight_modes_of_the_reference_are_known_in_its_order():
    assert [mode.name for mode in MODES] == [
        "full_bank_shuffle", "match_only", "mixed_subset", "all_wrong",
        "wrong_subset", "random_wrong", "none", "infer_best",
    ]  # fmt: skip
    assert {mode.name for mode in MODES if not mode.needs_label} == {"full_bank_shuffle", "none", "infer_best"}


def test_an_unknown_mode_is_refused():
    with pytest.raises(UsageError, match="unknown prompt mode 'all'"):
        draw("all", 3, 0)
