from __future__ import annotations

import errno
import os

import pytest

from pfedge_runtime.errors import StorageError
from pfedge_runtime.files import (
    erase,
    erasing,
    finish_erasing,
    remove_leftovers,
    replace_erasing,
    require_sole_copy,
    require_writable,
    staged_file,
)


def full_disk(*_arguments, **_keywords):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def bank(tmp_path):
    """A file with rows, and the same file held open from before."""
    path = tmp_path / "bank"
    path.write_bytes(b"rows")
    with path.open("rb") as held:
        yield path, held


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_link_is_refused(tmp_path, link):
    (tmp_path / "real").write_bytes(b"rows")
    getattr(tmp_path / "bank", link)(tmp_path / "real")
    with pytest.raises(StorageError, match="is a link, and rows would survive"):
        require_sole_copy(tmp_path / "bank")


def test_leftovers_of_a_killed_write_are_removed(tmp_path):
    path = tmp_path / "bank"
    path.write_bytes(b"kept")
    (tmp_path / ".bank.abc123.tmp").write_bytes(b"rows that may be forgotten later")
    remove_leftovers(path)
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_are_overwritten_before_they_go(tmp_path):
    leftover = tmp_path / ".bank.abc123.tmp"
    leftover.write_bytes(b"rows")
    with leftover.open("rb") as held:
        remove_leftovers(tmp_path / "bank")
        assert held.read() == bytes(4)


@pytest.mark.parametrize("links", [True, False])
def test_what_is_replaced_is_overwritten_for_whoever_holds_it(bank, monkeypatch, links):
    path, held = bank

    def no_links(*_):
        raise OSError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with staged_file(path, b"new") as staged:
        replace_erasing(staged, path)
    assert path.read_bytes() == b"new"
    assert held.read() == bytes(4)
    assert list(path.parent.iterdir()) == [path]


def test_what_is_replaced_is_overwritten_under_its_other_name_too(bank, tmp_path):
    path, _ = bank
    (tmp_path / "other").hardlink_to(path)
    with staged_file(path, b"new") as staged:
        replace_erasing(staged, path)
    assert (tmp_path / "other").read_bytes() == bytes(4)


def test_a_replacement_that_cannot_start_changes_nothing(bank, monkeypatch):
    path, held = bank
    monkeypatch.setattr(os, "link", full_disk)
    with staged_file(path, b"new") as staged, pytest.raises(StorageError, match="what was there is unchanged"):
        replace_erasing(staged, path)
    assert held.read() == b"rows"
    assert list(path.parent.iterdir()) == [path]


def test_erasing_that_failed_is_ended_by_the_next_start(bank, monkeypatch):
    path, held = bank
    with monkeypatch.context() as patch, staged_file(path, b"new") as staged:
        patch.setattr(erasing, "overwrite", full_disk)
        with pytest.raises(StorageError, match="was replaced, but its old content is not yet overwritten"):
            replace_erasing(staged, path)
    assert path.read_bytes() == b"new"
    assert held.read() == b"rows"
    finish_erasing(path)
    held.seek(0)
    assert held.read() == bytes(4)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["hardlink_to", "symlink_to"])
def test_another_name_of_what_stands_is_removed_and_its_bytes_stay(bank, kind):
    path, _ = bank
    getattr(path.with_name(".bank.old"), kind)(path)
    finish_erasing(path)
    assert path.read_bytes() == b"rows"
    assert list(path.parent.iterdir()) == [path]


def test_an_erased_file_is_overwritten_then_removed(bank):
    path, held = bank
    erase(path)
    assert held.read() == bytes(4)
    assert not path.exists()
    with pytest.raises(StorageError, match="No such file"):
        erase(path)


def test_erasing_never_follows_a_link(bank, tmp_path):
    path, _ = bank
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(StorageError):
        erase(tmp_path / "link")
    assert path.read_bytes() == b"rows"


def test_a_file_that_may_not_be_written_is_refused(bank, monkeypatch):
    path, _ = bank
    require_writable(path)
    path.chmod(0o444)
    if os.geteuid() == 0:  # whom modes do not bind
        monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(StorageError, match="Permission denied; what was there is unchanged"):
        require_writable(path)
