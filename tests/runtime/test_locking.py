from __future__ import annotations

import os

import pytest

from pfedge_runtime.errors import StorageError
from pfedge_runtime.files import exclusive, locking

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")


def test_a_held_lock_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "LOCK_SECONDS", 0.05)
    with (
        exclusive(tmp_path),
        pytest.raises(StorageError, match="another process"),
        exclusive(tmp_path),
    ):
        pytest.fail("two writers at once")


@as_root
def test_a_lock_that_root_makes_is_its_folders_owners(tmp_path):
    os.chown(tmp_path, 65534, 65533)
    with exclusive(tmp_path), pytest.raises(StorageError), exclusive(tmp_path, seconds=0.05):
        pytest.fail("two writers at once")
    status = (tmp_path / ".lock").stat()
    assert (status.st_uid, status.st_gid) == (65534, 65533)


@as_root
def test_a_lock_that_is_there_keeps_its_owner_and_a_link_is_not_followed(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    os.chown(folder, 65534, 65533)
    (folder / ".lock").touch()
    with exclusive(folder):
        assert (folder / ".lock").stat().st_uid == 0
    (folder / ".lock").unlink()
    (folder / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError), exclusive(folder):
        pytest.fail("the block must not run")
    assert not (tmp_path / "elsewhere").exists()
