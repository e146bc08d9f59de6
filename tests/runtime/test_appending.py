from __future__ import annotations

import errno
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfedge_runtime.errors import StorageError
from pfedge_runtime.files import append_line


def full_disk(*_arguments, **_keywords):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_lines_are_appended_to_a_file_of_its_owner(tmp_path):
    path = tmp_path / "ledger"
    append_line(path, b"one")
    append_line(path, b"two")
    assert path.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@settings(max_examples=50, deadline=None)
@given(
    lines=st.lists(st.binary(max_size=9).filter(lambda line: b"\n" not in line), max_size=4),
    torn=st.integers(0, 10_000),
)
def test_a_torn_last_line_is_cut_off_and_every_whole_line_stays(tmp_path_factory, lines, torn):
    path = tmp_path_factory.mktemp("torn") / "ledger"
    whole = b"".join(line + b"\n" for line in lines)
    path.write_bytes(whole + b"x" * torn)
    append_line(path, b"next")
    assert path.read_bytes() == whole + b"next\n"


def test_a_line_that_cannot_be_flushed_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "ledger"
    append_line(path, b"one")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageError, match="what was there is unchanged"):
        append_line(path, b"two")
    assert path.read_bytes() == b"one\n"


def test_a_disk_that_takes_a_byte_at_a_time_gets_the_whole_line(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:1]))
    append_line(tmp_path / "ledger", b"one")
    assert (tmp_path / "ledger").read_bytes() == b"one\n"
