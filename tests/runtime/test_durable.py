from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pfedge_runtime.errors import StorageError
from pfedge_runtime.files import (
    durable,
    make_folder,
    replace_erasing,
    staged_file,
    staged_folder,
    write_atomic,
    write_secret,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")


def full_disk(*_arguments, **_keywords):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "bank"
    write_atomic(path, b"a long first version")
    write_atomic(path, b"short")
    assert path.read_bytes() == b"short"
    assert list(tmp_path.iterdir()) == [path]


def test_write_keeps_the_mode(tmp_path):
    path = tmp_path / "bank"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_atomic(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "bank"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, step, full_disk)
    if step == "replace":
        monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(StorageError, match="No space left on device; what was there is unchanged"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_replaced_file_is_not_called_unchanged(tmp_path, monkeypatch):
    path = tmp_path / "bank"
    path.write_bytes(b"old")
    monkeypatch.setattr(durable, "sync_folder", full_disk)
    with pytest.raises(StorageError, match="was replaced, but the disk did not confirm it"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_staged_folder_appears_whole(tmp_path):
    with staged_folder(tmp_path / "bundle") as folder:
        (folder / "file").write_bytes(b"1")
        assert not (tmp_path / "bundle").exists()
    assert (tmp_path / "bundle" / "file").read_bytes() == b"1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("other")])
def test_a_failed_folder_leaves_nothing(tmp_path, error):
    def write():
        with staged_folder(tmp_path / "bundle") as folder:
            (folder / "file").write_bytes(b"1")
            raise error

    with pytest.raises(StorageError if isinstance(error, OSError) else RuntimeError):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_taken_destination_is_refused_before_anything_is_done(tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine").write_bytes(b"1")
    with pytest.raises(StorageError, match="not empty"), staged_folder(tmp_path / "bundle"):
        pytest.fail("the block must not run")
    assert (tmp_path / "bundle" / "mine").exists()


def test_a_staged_file_is_whole_and_vanishes_unless_it_is_renamed(tmp_path):
    path = tmp_path / "bank"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with staged_file(path, b"new") as staged:
        assert staged.parent == tmp_path
        assert staged.read_bytes() == b"new"
        assert stat.S_IMODE(staged.stat().st_mode) == 0o640
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with staged_file(path, b"new") as staged:
        staged.replace(path)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_file_that_cannot_be_staged_leaves_nothing(tmp_path, monkeypatch, call):
    monkeypatch.setattr(os, call, full_disk)
    with pytest.raises(StorageError, match="No space left"), staged_file(tmp_path / "bank", b"new"):
        pytest.fail("the block must not run")
    assert list(tmp_path.iterdir()) == []


def test_a_secret_is_its_owners_alone_and_is_never_replaced(tmp_path):
    path = tmp_path / "key"
    umask = os.umask(0)
    try:
        write_secret(path, b"secret")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(StorageError, match="File exists"):
        write_secret(path, b"other")
    assert path.read_bytes() == b"secret"


def test_a_secret_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(StorageError, match="No space left"):
        write_secret(tmp_path / "key", b"secret")
    assert list(tmp_path.iterdir()) == []


@as_root
@pytest.mark.parametrize("owner", [(65534, 65533), (0, 65533)])
def test_what_root_writes_stays_its_owners(tmp_path, owner):
    path = tmp_path / "bank"
    path.write_bytes(b"old")
    path.chmod(0o600)
    os.chown(path, *owner)
    write_atomic(path, b"new")
    with staged_file(path, b"newer") as staged:
        replace_erasing(staged, path)
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (*owner, 0o600)


def test_who_may_not_give_a_file_away_keeps_its_group_and_writes_all_the_same(tmp_path, monkeypatch):
    path = tmp_path / "bank"
    path.write_bytes(b"old")
    asked = []

    def refuse(_, owner, group):
        asked.append((owner, group))
        if owner != -1:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchown", refuse)
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert asked == [(-1, path.stat().st_gid), (path.stat().st_uid, -1)]


def test_a_folder_is_made_with_those_above_it(tmp_path):
    path = tmp_path / "state" / "keys"
    make_folder(path, mode=0o700)
    make_folder(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write"):
        make_folder(tmp_path / "file" / "keys")
