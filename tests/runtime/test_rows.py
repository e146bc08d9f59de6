from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedge_runtime.bank import RowKey

SOURCES = st.text(st.characters(exclude_categories=["Cs"]))  # halves of surrogate pairs have no encoding
KEYS = st.builds(RowKey, st.integers(0, 10**15 - 1), SOURCES)


@given(KEYS)
def test_what_is_written_is_read_back(key):
    assert RowKey.parse(str(key)) == key


@given(KEYS, KEYS)
def test_different_rows_are_written_differently(one, other):
    assert (str(one) == str(other)) == (one == other)


def test_a_row_of_a_whole_class_has_no_source():
    assert RowKey(3) == RowKey(3, "")
    assert str(RowKey(3)) == "3"


def test_rows_are_ordered_by_class_and_then_by_source():
    keys = [RowKey(3, "b"), RowKey(10), RowKey(3), RowKey(3, "a")]
    assert sorted(keys) == [RowKey(3), RowKey(3, "a"), RowKey(3, "b"), RowKey(10)]


@pytest.mark.parametrize("text", ["", "@a", "3@", "03", "-3", "+3", "3.0", " 3", "x", "1" * 16, "3@\ud800"])
def test_what_names_no_row_is_refused(text):
    with pytest.raises(ValueError, match=r"is no row's key|surrogates not allowed"):
        RowKey.parse(text)
