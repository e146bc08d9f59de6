from __future__ import annotations

import errno
import os
import stat

import pytest

from pfedge_runtime import encoding, storage
from pfedge_runtime.errors import StorageError


def full_disk(*_arguments, **_keywords):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "bank"
    storage.write_atomic(path, b"a long first version")
    storage.write_atomic(path, b"short")
    assert path.read_bytes() == b"short"
    assert list(tmp_path.iterdir()) == [path]


def test_write_keeps_the_mode(tmp_path):
    path = tmp_path / "bank"
    path.write_bytes(b"old")
    path.chmod(0o640)
    storage.write_atomic(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "bank"
    path.write_bytes(b"old")
    monkeypatch.setattr(storage.os, step, full_disk)
    if step == "replace":
        monkeypatch.setattr(storage.Path, "replace", full_disk)
    with pytest.raises(StorageError, match="No space left on device; what was there is unchanged"):
        storage.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_replaced_file_is_not_called_unchanged(tmp_path, monkeypatch):
    path = tmp_path / "bank"
    path.write_bytes(b"old")
    monkeypatch.setattr(storage, "sync_folder", full_disk)
    with pytest.raises(StorageError, match="was replaced, but the disk did not confirm it"):
        storage.write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_link_is_refused(tmp_path, link):
    (tmp_path / "real").write_bytes(b"rows")
    getattr(tmp_path / "bank", link)(tmp_path / "real")
    with pytest.raises(StorageError, match="is a link, and rows would survive"):
        storage.require_sole_copy(tmp_path / "bank")


def test_leftovers_of_a_killed_write_are_removed(tmp_path):
    path = tmp_path / "bank"
    path.write_bytes(b"kept")
    (tmp_path / ".bank.abc123.tmp").write_bytes(b"rows that may be forgotten later")
    storage.remove_leftovers(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_staged_folder_appears_whole(tmp_path):
    with storage.staged_folder(tmp_path / "bundle") as folder:
        (folder / "file").write_bytes(b"1")
        assert not (tmp_path / "bundle").exists()
    assert (tmp_path / "bundle" / "file").read_bytes() == b"1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("other")])
def test_a_failed_folder_leaves_nothing(tmp_path, error):
    def write():
        with storage.staged_folder(tmp_path / "bundle") as folder:
            (folder / "file").write_bytes(b"1")
            raise error

    with pytest.raises(StorageError if isinstance(error, OSError) else RuntimeError):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_taken_destination_is_refused_before_anything_is_done(tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine").write_bytes(b"1")
    with pytest.raises(StorageError, match="not empty"), storage.staged_folder(tmp_path / "bundle"):
        pytest.fail("the block must not run")
    assert (tmp_path / "bundle" / "mine").exists()


def test_a_held_lock_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "LOCK_SECONDS", 0.05)
    with (
        storage.exclusive(tmp_path),
        pytest.raises(StorageError, match="another process"),
        storage.exclusive(tmp_path),
    ):
        pytest.fail("two writers at once")


def test_canonical_json_has_one_encoding():
    assert encoding.canonical_json({"b": 1, "a": [True, "ü", 0.5]}) == '{"a":[true,"ü",0.5],"b":1}'.encode()


def test_digest_of_a_file(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert encoding.sha256_file(tmp_path / "empty").startswith("e3b0c44298fc1c149afbf4c8996fb924")
    with pytest.raises(StorageError, match="cannot read"):
        encoding.sha256_file(tmp_path / "missing")
