from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfedge_runtime.bank import RowKey, StatisticsBank, quantise, summarise
from pfedge_runtime.errors import AlreadyForgottenError, BankError, LastRowError

BITS = 12


def rows(ids=(0, 1, 2, 5), width=5, seed=0, sources=("",), count=30):
    made = {}
    for class_id in ids:
        for number, source in enumerate(sources):
            rng = np.random.default_rng((seed, class_id, number))
            embedding = rng.normal(class_id, 1, (count, width)).astype(np.float32)
            made[RowKey(class_id, source)] = summarise(quantise(embedding, BITS)).with_threshold(-1.0 - class_id)
    return made


def bank(**kwargs):
    return StatisticsBank(rows(**kwargs), BITS, 0.1)


@settings(max_examples=50, deadline=None)
@given(
    ids=st.sets(st.integers(0, 40), min_size=2, max_size=7),
    width=st.integers(1, 9),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_forgetting_gives_the_bytes_of_a_bank_that_never_knew(ids, width, seed, data):
    dropped = data.draw(st.sets(st.sampled_from(sorted(ids)), min_size=1, max_size=len(ids) - 1))
    whole = bank(ids=ids, width=width, seed=seed)
    never = bank(ids=ids - dropped, width=width, seed=seed)
    forgotten = whole.drop(dropped)
    assert forgotten.to_bytes() == never.to_bytes()
    assert forgotten.digest() == never.digest()
    again = StatisticsBank.from_bytes(whole.to_bytes()).drop(dropped)
    assert again.to_bytes() == never.to_bytes()
    assert np.array_equal(again.head().weight, never.head().weight)
    assert np.array_equal(again.head().bias, never.head().bias)


def test_rows_by_source_merge_into_classes_and_go_by_source():
    both = bank(sources=("clinic-1", "clinic-2"))
    assert both.class_ids == (0, 1, 2, 5)
    assert both.sources == ("clinic-1", "clinic-2")
    assert len(both) == 4
    assert both.classes[0].count == 60
    left = both.keep(key for key in both.rows if key.source != "clinic-2")
    assert left.to_bytes() == bank(sources=("clinic-1",)).to_bytes()
    assert left.head().weight.shape == (4, 5)


def test_rows_are_inserted_once():
    whole, part = bank(), bank(ids=(0, 1))
    rest = {key: row for key, row in whole.rows.items() if key.class_id > 1}
    assert part.insert(rest).to_bytes() == whole.to_bytes()
    with pytest.raises(BankError, match="has rows 2, 5 already"):
        whole.insert(rest)
    with pytest.raises(BankError, match="one width"):
        part.insert(rows(ids=(9,), width=6))


def test_a_bank_keeps_a_row_and_knows_its_classes():
    with pytest.raises(LastRowError):
        bank().drop({0, 1, 2, 5})
    with pytest.raises(AlreadyForgottenError):
        bank().drop({3})
    with pytest.raises(AlreadyForgottenError):
        bank().select({0, 7})


def test_one_class_is_its_own_answer():
    head = bank(ids=(3,)).head()
    assert head.class_ids == (3,)
    assert not head.weight.any()
    assert head.bias.tolist() == [0.0]


@pytest.mark.parametrize("text", ["", "x", "03", "3@", "-1"])
def test_other_keys_are_refused(text):
    with pytest.raises(ValueError, match="no row's key"):
        RowKey.parse(text)


@pytest.mark.parametrize("share", [0, 0.3, 0.999])
def test_truncated_banks_are_refused(share):
    data = bank().to_bytes()
    with pytest.raises(BankError, match="b is damaged"):
        StatisticsBank.from_bytes(data[: int(share * len(data))], source="b")


def test_damaged_rows_are_refused():
    whole = bank()
    tensors = whole.tensors()
    for change, words in (
        ({"rows.1.sum": None}, "incomplete or damaged row 1"),
        ({"rows.1.count": np.array(0)}, "at least one input"),
        ({"rows.1.sum": tensors["rows.1.sum"].astype(np.float64)}, "incomplete or damaged row 1"),
        ({"rows.1.outer": tensors["rows.1.outer"][:-1]}, "row 1 is damaged"),
        ({"rows.1.threshold": np.array(np.nan, np.float32)}, "row 1 is damaged"),
        ({"rows.x.sum": tensors["rows.1.sum"]}, "no row's key"),
        ({"columns.1.sum": tensors["rows.1.sum"]}, "no part of a row"),
    ):
        changed = {name: value for name, value in {**tensors, **change}.items() if value is not None}
        with pytest.raises(BankError, match=words):
            StatisticsBank.from_tensors(changed, whole.about(), source="b")
    for about in ({}, {**whole.about(), "shrinkage": 2}, {**whole.about(), "format": "other"}, 3):
        with pytest.raises(BankError, match=r"b is (damaged|not)|cannot have"):
            StatisticsBank.from_tensors(tensors, about, source="b")


def test_a_graph_without_an_embedding_cannot_be_judged_by():
    with pytest.raises(BankError, match="not one of guarantee exact"):
        bank().accepts(np.array([0]), np.zeros((1, 4), np.float32), None)


@pytest.mark.parametrize(
    "change",
    [{"scale_bits": 12.9}, {"scale_bits": True}, {"shrinkage": "0.1"}, {"note": "Jane Doe"}, {"shrinkage": None}],
)
def test_settings_are_those_of_a_bank_and_no_others(change):
    whole = bank()
    assert StatisticsBank.from_tensors(whole.tensors(), {**whole.about(), "shrinkage": 1}, source="bank").shrinkage == 1
    with pytest.raises(BankError, match="settings are not those"):
        StatisticsBank.from_tensors(whole.tensors(), {**whole.about(), **change}, source="bank")
