from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from pfedge_runtime.bank import PROMPT_FORMAT, PromptBank, ZeroizedBytes
from pfedge_runtime.bank.records import Records
from pfedge_runtime.errors import BankError


def make_parts(records, seed=0):
    rng = np.random.default_rng(seed)
    rows = len(records.class_ids)
    return {name: rng.normal(size=(rows, *shape)).astype(np.float32) for name, shape in records.shapes.items()}


layouts = st.builds(
    Records,
    class_ids=st.sets(st.integers(0, 2000), min_size=1, max_size=30).map(lambda ids: tuple(sorted(ids))),
    features=st.integers(1, 5),
    tokens=st.integers(0, 3),
    width=st.integers(1, 4),
)


@given(records=layouts)
def test_what_is_written_is_read_back_and_is_the_librarys_encoding(records):
    parts = make_parts(records)
    data = records.write(parts)
    assert isinstance(data, ZeroizedBytes)
    assert Records.of(data) == records
    again = records.read(data)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)
    tensors = {
        f"rows.{c}.{name}": np.array(parts[name][at]) for at, c in enumerate(records.class_ids) for name in parts
    }
    assert data == safetensors.numpy.save(tensors, metadata={"format": PROMPT_FORMAT})


def whole():
    records = Records((2, 10), features=3, tokens=1, width=2)
    return records, bytes(records.write(make_parts(records)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"pfedge-bank/1", b"pfedge-bank/2"),
        (b"rows.10.", b"rows.02."),
        (b'"shape":[3]', b'"shape":[4]'),
        (b"rows.10.threshold", b"rows.2.threshold"),
    ],
)
def test_any_other_beginning_is_left_to_the_general_reader(old, new):
    _, data = whole()
    changed = data.replace(old, new)
    assert changed != data
    assert Records.of(changed) is None
    with pytest.raises(BankError):
        PromptBank.from_bytes(changed)


@pytest.mark.parametrize("cut", [0, 3, 8, 100, -1])
def test_a_truncated_or_longer_file_is_none_of_these(cut):
    _, data = whole()
    assert Records.of(data[:cut]) is None
    assert Records.of(data + b"\0") is None


def test_the_general_reader_gives_the_same_rows_from_another_order_of_tensors():
    records, data = whole()
    parts = make_parts(records)
    tensors = {f"rows.{c}.{name}": np.array(parts[name][at]) for at, c in enumerate((2, 10)) for name in parts}
    padded = safetensors.numpy.save(tensors, metadata={"format": PROMPT_FORMAT})
    size = int.from_bytes(padded[:8], "little")
    longer = (size + 8).to_bytes(8, "little") + padded[8 : 8 + size] + b" " * 8 + padded[8 + size :]
    assert Records.of(longer) is None
    assert PromptBank.from_bytes(longer).digest() == PromptBank.from_bytes(data).digest()
