from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from pfedge_runtime.bank import PROMPT_FORMAT, PromptBank
from pfedge_runtime.errors import AlreadyForgottenError, BankError, LastRowError, UsageError


def make_bank(class_ids=(0, 1, 3, 7), tokens=2, width=4, seed=0):
    rng = np.random.default_rng(seed)
    rows = len(class_ids)
    return PromptBank(
        class_ids=tuple(class_ids),
        prompts=rng.normal(size=(rows, tokens, width)).astype(np.float32),
        head_weight=rng.normal(size=(rows, width)).astype(np.float32),
        head_bias=rng.normal(size=rows).astype(np.float32),
        threshold=np.full(rows, -np.inf, dtype=np.float32),
    )


def same(first, second):
    return first.class_ids == second.class_ids and all(
        np.array_equal(getattr(first, part), getattr(second, part))
        for part in ("prompts", "head_weight", "head_bias", "threshold")
    )


id_sets = st.sets(st.integers(0, 300), min_size=1, max_size=8)


@given(ids=id_sets, data=st.data())
def test_drop_keeps_every_other_row_bit_for_bit(ids, data):
    bank = make_bank(sorted(ids))
    dropped = data.draw(st.sets(st.sampled_from(sorted(ids)), max_size=len(ids) - 1))
    smaller = bank.drop(dropped)
    assert smaller.class_ids == tuple(sorted(ids - dropped))
    for class_id in smaller.class_ids:
        assert smaller.row_digest(class_id) == bank.row_digest(class_id)
    assert same(bank.select(ids - dropped), smaller)


@given(ids=id_sets, tokens=st.integers(0, 3))
def test_bytes_round_trip(ids, tokens):
    bank = make_bank(sorted(ids), tokens=tokens)
    again = PromptBank.from_bytes(bank.to_bytes())
    assert same(bank, again)
    assert again.digest() == bank.digest()


@given(ids=id_sets, tokens=st.integers(0, 3))
def test_the_encoding_is_the_librarys_byte_for_byte(ids, tokens):
    bank = make_bank(sorted(ids), tokens=tokens)
    tensors = {f"rows.{c}.{part}": np.array(value) for c in bank.class_ids for part, value in bank.row(c).items()}
    assert bank.to_bytes() == safetensors.numpy.save(tensors, metadata={"format": "pfedge-bank/1"})


@given(ids=id_sets, data=st.data())
def test_digests_are_the_same_however_a_bank_came_about(ids, data):
    bank = make_bank(sorted(ids))
    keep = data.draw(st.sets(st.sampled_from(sorted(ids)), min_size=1))
    before = bank.select(keep).digest()
    bank.digest()  # from now on smaller banks take their rows' digests from this one
    assert bank.select(keep).digest() == before == PromptBank.from_bytes(bank.select(keep).to_bytes()).digest()


def test_encoding_does_not_depend_on_the_order_of_drops():
    bank = make_bank()
    assert bank.drop({1}).drop({3}).to_bytes() == bank.drop({3, 1}).to_bytes()


def test_dropped_rows_leave_no_bytes_behind():
    bank = make_bank()
    data = bank.drop({3}).to_bytes()
    for part in ("prompts", "head_weight"):
        assert bank.row(3)[part].tobytes() not in data
        assert bank.row(7)[part].tobytes() in data  # the search itself works


def test_a_bank_is_immutable():
    bank = make_bank()
    with pytest.raises(ValueError, match="read-only"):
        bank.prompts[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        bank.class_ids = ()


def test_refuses_to_drop_what_it_has_not():
    with pytest.raises(AlreadyForgottenError, match=r"no row for class \[2\]"):
        make_bank().drop({2})
    with pytest.raises(AlreadyForgottenError):
        make_bank().select({2})


def test_refuses_to_drop_the_last_row():
    with pytest.raises(LastRowError):
        make_bank((5,)).drop({5})


@pytest.mark.parametrize(
    "change",
    [
        {"class_ids": (3, 1, 0, 7)},
        {"class_ids": (0, 1, 3)},
        {"head_bias": np.zeros(3, np.float32)},
        {"head_weight": np.zeros((4, 4))},
        {"prompts": np.full((4, 2, 4), np.nan, np.float32)},
        {"threshold": np.full(4, np.nan, np.float32)},
    ],
)
def test_refuses_parts_that_do_not_fit(change):
    with pytest.raises(BankError):
        dataclasses.replace(make_bank(), **change)


def test_every_flipped_bit_of_the_header_is_noticed_or_changes_a_digest():
    bank = make_bank((0, 4), tokens=1, width=2)
    data = bank.to_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for position in range(header):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            try:
                again = PromptBank.from_bytes(bytes(flipped))
            except BankError:
                continue
            assert again.digest() != bank.digest(), (position, bit)


@given(cut=st.integers(0, 300))
def test_truncated_bytes_are_refused(cut):
    data = make_bank().to_bytes()
    with pytest.raises(BankError):
        PromptBank.from_bytes(data[: min(cut, len(data) - 1)])


@pytest.mark.parametrize(
    ("tensors", "metadata", "words"),
    [
        ({"rows.0.prompts": np.zeros((1, 2), np.float32)}, {"format": PROMPT_FORMAT}, "incomplete"),
        ({"weights": np.zeros(2, np.float32)}, {"format": PROMPT_FORMAT}, "no part of a row"),
        ({"rows.01.prompts": np.zeros((1, 2), np.float32)}, {"format": PROMPT_FORMAT}, "no part of a row"),
        ({"rows.0.prompts": np.zeros((1, 2), np.float32)}, {"format": "pfedge-bank/2"}, "format"),
        ({}, {"format": PROMPT_FORMAT}, "no rows"),
    ],
)
def test_other_safetensors_files_are_refused(tensors, metadata, words):
    with pytest.raises(BankError, match=words):
        PromptBank.from_bytes(safetensors.numpy.save(tensors, metadata=metadata))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BankError, match=r"nothing\.safetensors"):
        PromptBank.load(tmp_path / "nothing.safetensors")


def test_a_bank_is_not_pickled():
    """Nor copied by `copy`, which asks the same method."""
    bank = make_bank()
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(UsageError, match="a bank is not pickled"):
            copied(bank)
