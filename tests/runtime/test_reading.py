from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy

from pfedge_runtime import PromptBank
from pfedge_runtime.bank import SEALED_FORMAT, SealedBank, bank_format, encode, read_bank, seal
from pfedge_runtime.bank.reading import READERS
from pfedge_runtime.errors import BankError
from support.paths import GOLDEN

FILES = {
    "pfedge-bank/1": (GOLDEN / "bundle" / "bank.safetensors").read_bytes(),
    "pfedge-statistics/1": (GOLDEN / "exact" / "bundle" / "bank.safetensors").read_bytes(),
    SEALED_FORMAT: bytes(seal(PromptBank.load(GOLDEN / "bundle" / "bank.safetensors"))[0].to_bytes()),
}


@pytest.mark.parametrize("name", READERS)
def test_the_format_that_a_file_names_finds_the_reader(name):
    assert bank_format(FILES[name][:512]) == name
    assert isinstance(read_bank(FILES[name], source="bank"), READERS[name])


def test_a_sealed_bank_is_no_bank_of_what_is_in_it():
    assert isinstance(read_bank(FILES[SEALED_FORMAT], source="bank"), SealedBank)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\0" * 512,
        b"\x20\0\0\0\0\0\0\0" + b'{"__metadata__":{"pfedge":"pfedge-bank/1"}}',
        b"\x20\0\0\0\0\0\0\0" + b'{"__metadata__":{"format":"pfedge-bank/2"}}',
        b"\x20\0\0\0\0\0\0\0" + b'{"__metadata__":{"format":"pfedge-bank/1',
        b"\x20\0\0\0\0\0\0\0" + b'{"__metadata__":{"format":3}}',
        b"\x20\0\0\0\0\0\0\0" + b'{"__metadata__":{"format":"[3]"}}',
        b"\x20\0\0\0\0\0\0\0" + b'{"__metadata__":{"format":"{\\"format\\":3}"}}',
    ],
)
def test_other_files_are_no_banks(head):
    assert bank_format(head) is None


def test_a_header_that_begins_otherwise_is_read_all_the_same():
    data = FILES["pfedge-bank/1"]
    size = int.from_bytes(data[:8], "little")
    header = b" " + data[8 : 8 + size]
    with pytest.raises(BankError, match="bank is damaged or not a bank"):  # as its own reader says
        read_bank((size + 1).to_bytes(8, "little") + header + data[8 + size :], source="bank")


@pytest.mark.parametrize("form", ["pfedge-bank/2", "{}", '{"format": "other"}', "[" * 2000])
def test_a_bank_of_another_format_is_refused_by_name(form):
    data = bytes(encode({"rows.3.sum": np.zeros(2, np.int64)}, form))
    with pytest.raises(BankError, match="bank is not a bank of format pfedge-bank/1 or"):
        read_bank(data, source="bank")


@pytest.mark.parametrize("data", [b"", b"no bank", safetensors.numpy.save({"x": np.zeros(3, np.float32)})])
def test_what_is_no_bank_is_refused(data):
    with pytest.raises(BankError, match="bank is damaged or not a bank"):
        read_bank(data, source="bank")
