from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedge_runtime.errors import BundleError, StorageError
from pfedge_runtime.files import encoding

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e15, 1e15)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(TEXTS, parts, max_size=3),
    max_leaves=12,
)


def test_canonical_json_has_one_encoding():
    assert encoding.canonical_json({"b": 1, "a": [True, "ü", 0.5]}) == '{"a":[true,"ü",0.5],"b":1}'.encode()


def test_keys_are_ordered_as_the_standard_says():
    """RFC 8785 orders by UTF-16 code units, where a pair of surrogates comes before U+E000."""
    assert encoding.canonical_json({"\ue000": 1, "😀": 2}) == '{"😀":2,"\ue000":1}'.encode()


@given(VALUES)
def test_what_is_encoded_is_read_back_and_has_that_encoding(value):
    data = encoding.canonical_json(value)
    again = encoding.parse_json(data, "it", BundleError)
    assert again == value
    assert encoding.canonical_json(again) == data


@given(VALUES)
def test_spaces_and_order_do_not_change_the_encoding(value):
    spaced = encoding.parse_json(json.dumps(value, indent=1), "it", BundleError)
    assert encoding.canonical_json(spaced) == encoding.canonical_json(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{'a': 1}",
        b"\xff\xfe\xff",
        "NaN",
        "[Infinity]",
        "1e999",
        str(2**53),
        str(-(2**53)),
        "1" * 5000,
        r'"\ud800"',
        r'{"\udfff": 1}',
        "[" * 65 + "1" + "]" * 65,
        "[" * 100_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_has_no_canonical_encoding_is_refused(text):
    with pytest.raises(BundleError, match="it is damaged: it is not JSON"):
        encoding.parse_json(text, "it", BundleError)


def test_the_bounds_themselves_are_taken():
    deep = "[" * 64 + "1" + "]" * 64
    for text in (deep, str(2**53 - 1), str(1 - 2**53), "1e308"):
        encoding.canonical_json(encoding.parse_json(text, "it", BundleError))


def test_json_that_is_too_large_is_not_read(monkeypatch):
    monkeypatch.setattr(encoding, "JSON_BYTES", 8)
    assert encoding.parse_json("[1,2,30]", "it", BundleError) == [1, 2, 30]
    with pytest.raises(BundleError, match="it is too large to be what it should be: more than 8 bytes"):
        encoding.parse_json("[1,2,300]", "it", BundleError)


def test_a_small_file_is_read_whole_and_a_larger_one_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert encoding.read_file(tmp_path / "file", limit=5) == b"12345"
    with pytest.raises(BundleError, match="too large to be what it should be: more than 4 bytes"):
        encoding.read_file(tmp_path / "file", BundleError, limit=4)


@pytest.mark.parametrize("name", ["missing", ".", "n" * 300])
def test_what_is_no_file_is_an_error_of_the_class_asked_for(tmp_path, name):
    with pytest.raises(BundleError, match=r"cannot read|is not a file"):
        encoding.read_file(tmp_path / name, BundleError)


def test_digest_of_a_file(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert encoding.sha256_file(tmp_path / "empty").startswith("e3b0c44298fc1c149afbf4c8996fb924")
    with pytest.raises(StorageError, match="cannot read"):
        encoding.sha256_file(tmp_path / "missing")


def test_minus_zero_and_zero_have_one_encoding():
    assert encoding.canonical_json([-0.0, 0]) == b"[0,0]"


@given(st.binary(min_size=8, max_size=300))
def test_what_is_told_of_an_error_holds_nothing_of_the_file(data):
    for read in (data.decode, lambda: json.loads(data), lambda: {}[data.hex() * 9]):
        try:
            read()
        except (ValueError, KeyError, RecursionError) as error:
            told = encoding.safe_reason(error)
            assert len(told) <= encoding.LONGEST_ERROR
            assert repr(data)[2:-1] not in told


def test_what_is_no_number_is_null():
    value = {"a": [float("nan"), 1.5, (float("inf"), True)], "b": {"c": "nan", "d": None}}
    assert encoding.finite(value) == {"a": [None, 1.5, [None, True]], "b": {"c": "nan", "d": None}}
