"""What holds of every kind of bank."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedge_runtime import PromptBank, StatisticsBank
from pfedge_runtime.bank import Bank, RowKey, StoredBank, read_bank, seal
from pfedge_runtime.errors import LastRowError
from support.paths import GOLDEN

PROMPTS = PromptBank.load(GOLDEN / "bundle" / "bank.safetensors")
CLASSES = StatisticsBank.load(GOLDEN / "exact" / "bundle" / "bank.safetensors")
SUMS = StatisticsBank(
    {RowKey(key.class_id, source): row for key, row in CLASSES.rows.items() for source in ("", "a", "b")},
    CLASSES.scale_bits,
    CLASSES.shrinkage,
)
OPEN: list[Bank] = [PROMPTS, SUMS]
SEALED = {bank.FORMAT: seal(bank) for bank in OPEN}
BANKS: list[StoredBank] = [*OPEN, *(sealed for sealed, _ in SEALED.values())]

banks = st.sampled_from(BANKS)
keys = st.sets(st.sampled_from(SUMS.row_keys), max_size=8)


def written(bank: StoredBank) -> bytes:
    return bytes(bank.to_bytes())


@given(banks, keys, keys)
def test_rows_go_one_after_the_other_as_they_go_together(bank, one, other):
    apart, together = bank.without(one).without(other), bank.without(one | other)
    assert apart.digest() == together.digest()
    assert written(apart) == written(together)


@given(banks, keys)
def test_what_is_kept_is_what_does_not_go(bank, gone):
    left = bank.without(gone)
    assert left.row_keys == tuple(key for key in bank.row_keys if key not in gone)
    assert written(left) == written(bank.keep(reversed(left.row_keys)))
    assert left.class_ids == tuple(sorted({key.class_id for key in left.row_keys}))
    assert left.sources == tuple(sorted({key.source for key in left.row_keys if key.source}))
    assert len(left) == len(left.class_ids)


@given(banks, keys)
def test_a_row_stays_as_it_is_whatever_goes(bank, gone):
    left = bank.without(gone)
    assert left.row_digests().items() <= bank.row_digests().items()
    assert all(left.row_bytes(key) == bank.row_bytes(key) for key in left.row_keys)


@given(banks, keys)
def test_a_bank_is_read_back_by_the_reader_of_its_format(bank, gone):
    left = bank.without(gone)
    again = read_bank(written(left), source="bank")
    assert type(again) is type(left)
    assert (again.digest(), written(again)) == (left.digest(), written(left))


@given(st.sampled_from(OPEN), keys)
def test_what_is_sealed_opens_to_what_was_sealed(bank, gone):
    sealed, row_keys = SEALED[bank.FORMAT]
    opened = sealed.without(gone).unsealed(row_keys, bank.row_digests())
    assert written(opened) == written(bank.without(gone))
    assert bank.unsealed({}, {}) is bank


@given(st.sampled_from(OPEN))
def test_banks_of_one_row_each_join_to_the_whole(bank):
    joined = type(bank).joined([bank.keep([key]) for key in reversed(bank.row_keys)])
    assert written(joined) == written(bank)


@pytest.mark.parametrize("bank", BANKS, ids=lambda bank: bank.FORMAT)
def test_the_last_row_does_not_go(bank):
    with pytest.raises(LastRowError):
        bank.without(bank.row_keys)
    with pytest.raises(LastRowError):
        bank.keep([])


@pytest.mark.parametrize("bank", OPEN, ids=lambda bank: bank.FORMAT)
def test_the_graph_takes_one_row_a_class(bank):
    inputs = bank.graph_inputs()
    assert {name: (len(bank), *shape) for name, shape in bank.row_shapes().items()} == {
        name: value.shape for name, value in inputs.items()
    }
    assert all(value.dtype == np.float32 for value in inputs.values())


@pytest.mark.parametrize("bank", OPEN, ids=lambda bank: bank.FORMAT)
def test_every_row_has_vectors_that_no_graph_may_hold(bank):
    assert {key for key, _ in bank.vectors()} >= set(bank.row_keys)
