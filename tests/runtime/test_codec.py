from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pfedge_runtime.bank import codec as tensors
from pfedge_runtime.bank import decode, encode, read_zeroized, zeroized_copy, zeroized_empty
from pfedge_runtime.errors import BankError
from pfedge_runtime.files import canonical_json

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6).filter(lambda text: text != "__metadata__")
KINDS = st.sampled_from([np.dtype("<f4"), np.dtype("<i8"), np.dtype("u1")])
SHAPES = st.lists(st.integers(0, 4), max_size=2).map(tuple)
ARRAYS = st.tuples(KINDS, SHAPES).flatmap(lambda one: arrays_of.arrays(*one))
NAMED = st.dictionaries(TEXTS, ARRAYS, max_size=4)
SAMPLE = encode({"a": np.arange(3, dtype=np.float32), "b": np.arange(2), "c": np.ones((2, 1), np.uint8)}, "f/1")


def same(one, other):
    assert set(one) == set(other)
    for name, array in one.items():
        assert (array.dtype, array.shape) == (other[name].dtype, other[name].shape)
        assert array.tobytes() == other[name].tobytes()


def packed(header, content=b"\0" * 4):
    """Return a file of a header and content as they are."""
    data = canonical_json(header)
    return struct.pack("<Q", len(data)) + data + content


def accepted_by_the_library_too(data):
    """Decode, and compare with the library; return whether it is accepted."""
    try:
        ours, _ = decode(data, "b")
    except BankError:
        return False
    same(ours, load(bytes(data)))
    return True


@given(NAMED, TEXTS)
def test_what_is_written_is_what_the_library_writes_and_is_read_back(named, form):
    data = encode(named, form)
    assert data == save(named, metadata={"format": form})
    arrays, again = decode(data, "b")
    same(arrays, named)
    same(load(bytes(data)), named)
    assert again == form


@given(ARRAYS)
def test_order_and_endianness_in_memory_do_not_change_what_is_written(array):
    plain = encode({"a": array}, "f")
    assert encode({"a": array.copy(order="F")}, "f") == plain
    assert encode({"a": array.astype(array.dtype.newbyteorder(">"))}, "f") == plain


SIZES = st.integers(0, 3) | st.integers(-2, 2**64) | st.booleans() | st.none()
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "I64", "U8", "F16", "BOOL", "f32", ""]),
        "shape": st.lists(st.integers(0, 3), max_size=3) | st.lists(SIZES.filter(lambda n: n is None or n < 2**53)),
        "data_offsets": st.lists(st.sampled_from([0, 1, 4, 8, 12, 16, 24]), min_size=2, max_size=2)
        | st.lists(st.integers(-1, 30), max_size=3),
    }
)


@settings(max_examples=500)
@given(st.dictionaries(st.sampled_from("ab"), ENTRIES, min_size=1), st.sampled_from([0, 1, 4, 8, 12, 16, 24]))
def test_no_header_is_accepted_that_the_library_refuses_or_reads_otherwise(entries, size):
    accepted_by_the_library_too(packed({"__metadata__": {"format": "f"}, **entries}, bytes(range(size))))


@settings(max_examples=500)
@given(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255))
def test_no_changed_byte_is_accepted_that_the_library_refuses_or_reads_otherwise(place, value):
    changed = bytearray(SAMPLE)
    changed[place] = value
    accepted_by_the_library_too(changed)


def test_the_sample_itself_is_accepted():
    assert accepted_by_the_library_too(SAMPLE)


@given(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=1, max_size=9))
def test_a_file_cut_short_or_with_more_is_refused(size, more):
    for data in (SAMPLE[:size], SAMPLE + more):
        with pytest.raises(BankError, match="b is damaged or not a bank"):
            decode(data, "b")


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": ENTRY},
        {"__metadata__": None, "a": ENTRY},
        {"__metadata__": {}, "a": ENTRY},
        {"__metadata__": {"form": "f"}, "a": ENTRY},
        {"__metadata__": {"format": "f", "more": ""}, "a": ENTRY},
        [],
        {"__metadata__": {"format": "f"}, "a": {**ENTRY, "dtype": "F64"}},
        {"__metadata__": {"format": "f"}, "a": {**ENTRY, "shape": [True]}},
        {"__metadata__": {"format": "f"}, "a": {**ENTRY, "shape": [1, 1, 1]}},
        {"__metadata__": {"format": "f"}, "a": {**ENTRY, "shape": [2]}},
        {"__metadata__": {"format": "f"}, "a": {**ENTRY, "data_offsets": [0, 3]}},
        {"__metadata__": {"format": "f"}, "a": {**ENTRY, "data_offsets": [4, 0]}},
        {"__metadata__": {"format": "f"}, "a": ENTRY, "b": ENTRY},
        {"__metadata__": {"format": "f"}, "a": {"dtype": "F32"}},
        {"__metadata__": {"format": "f"}, "a": 3},
    ],
    ids=str,
)
def test_another_header_is_refused(header):
    with pytest.raises(BankError, match="b is"):
        decode(packed(header), "b")


def test_a_name_that_stands_twice_hides_no_bytes():
    entries = '"a":{"dtype":"U8","shape":[2],"data_offsets":[%d,%d]}'
    header = f'{{"__metadata__":{{"format":"f"}},{entries % (0, 2)},{entries % (2, 4)}}}'.encode()
    with pytest.raises(BankError, match="b is damaged"):
        decode(struct.pack("<Q", len(header)) + header + b"rows", "b")


def test_what_is_read_looks_into_the_file_and_copies_nothing():
    data = encode({"a": np.ones(3, np.float32)}, "f")
    arrays, _ = decode(data, "b")
    data[-12:] = bytes(12)
    assert not arrays["a"].any()


@given(ARRAYS.filter(lambda array: array.ndim and len(array)), st.data())
def test_chosen_rows_are_copied(array, data):
    rows = data.draw(st.lists(st.integers(0, len(array) - 1), max_size=5))
    copy = zeroized_copy(array, rows)
    assert copy.tobytes() == array[rows].tobytes()
    assert (copy.dtype, copy.shape) == (array.dtype, (len(rows), *array.shape[1:]))
    assert not np.shares_memory(copy, array)


@pytest.fixture
def released(monkeypatch):
    """What fleeting memory holds when it is let go."""
    seen = []

    class Watched(tensors.ZeroizedBytes):
        def __del__(self):
            super().__del__()
            seen.append(bytes(self))

    monkeypatch.setattr(tensors, "ZeroizedBytes", Watched)
    return seen


@pytest.mark.parametrize("make", ["encode", "read", "rows"])
def test_fleeting_memory_is_zeros_once_it_is_let_go(released, tmp_path, make):
    (tmp_path / "bank").write_bytes(b"rows of a bank")
    held = {
        "encode": lambda: encode({"a": np.ones(3, np.float32)}, "f"),
        "read": lambda: read_zeroized(tmp_path / "bank"),
        "rows": lambda: zeroized_copy(np.ones((3, 2)), [0, 2]),
    }[make]()
    size = memoryview(held).nbytes
    assert any(bytes(held))
    assert released == []
    del held
    assert released == [bytes(size)]


def test_arrays_keep_the_memory_they_look_into(released):
    arrays, _ = decode(encode({"a": np.ones(3, np.float32)}, "f"), "b")
    view = arrays.pop("a")[1:]
    assert released == []
    assert view.tolist() == [1, 1]
    del view
    assert len(released) == 1


def test_fleeting_memory_starts_as_zeros():
    array = zeroized_empty((2, 3), np.float32)
    assert array.shape == (2, 3)
    assert not array.any()
    assert zeroized_empty((0, 3), np.int64).shape == (0, 3)


def test_a_file_is_read_whole(tmp_path):
    (tmp_path / "bank").write_bytes(SAMPLE)
    assert read_zeroized(tmp_path / "bank") == SAMPLE
    for name in ("missing", "."):
        with pytest.raises(BankError, match=r"cannot read the bank|is not a file"):
            read_zeroized(tmp_path / name)


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="no file here that says it is empty and is not")
def test_a_file_that_grows_while_it_is_read_is_refused():
    with pytest.raises(BankError, match="its size changed while it was read"):
        read_zeroized(Path("/proc/version"))


ENTRY = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]'


@pytest.mark.parametrize(
    "header",
    [
        '{"__metadata__":{"format":3},' + ENTRY + "}}",
        '{"__metadata__":{"format":"\\ud800"},' + ENTRY + "}}",
        '{"__metadata__":{"format":"f"},' + ENTRY.replace('"a"', '"\\ud800"') + "}}",
        '{"__metadata__":{"format":"f"},' + ENTRY.replace("{", '{"dtype":"U8",') + "}}",
        '{"__metadata__":{"x":"f"},"__metadata__":{"format":"f"},' + ENTRY + "}}",
        '{"__metadata__":{"format":"f"},' + ENTRY + ',"x":NaN}}',
        '{"__metadata__":{"format":"f"},' + ENTRY.replace("[0,4]", "[-0,4]") + "}}",
    ],
)
def test_a_header_that_the_library_refuses_is_refused(header):
    data = struct.pack("<Q", len(header)) + header.encode() + bytes(4)
    with pytest.raises(SafetensorError):
        load(data)
    with pytest.raises(BankError, match="is damaged or not a bank"):
        decode(data, "bank")


def test_an_error_tells_no_byte_of_a_row():
    row = np.random.default_rng(0).normal(size=500).astype(np.float32)
    data = bytearray(encode({"rows.0.prompts": row}, "format"))
    data[1] ^= 6  # its header seems to go on into the numbers
    with pytest.raises(BankError) as error:
        decode(data, "bank")
    assert len(str(error.value)) < 250
    assert repr(row.tobytes()[:8])[2:-1] not in str(error.value)
