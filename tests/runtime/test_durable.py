from __future__ import annotations

import errno
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfedge_runtime.errors import StorageError
from pfedge_runtime.files import durable as storage


def full_disk(*_arguments, **_keywords):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def bank(tmp_path):
    """A file with rows, and the same file held open from before."""
    path = tmp_path / "bank"
    path.write_bytes(b"rows")
    with path.open("rb") as held:
        yield path, held


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


def test_a_staged_file_is_whole_and_vanishes_unless_it_is_renamed(tmp_path):
    path = tmp_path / "bank"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with storage.staged_file(path, b"new") as staged:
        assert staged.parent == tmp_path
        assert staged.read_bytes() == b"new"
        assert stat.S_IMODE(staged.stat().st_mode) == 0o640
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    with storage.staged_file(path, b"new") as staged:
        staged.replace(path)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_file_that_cannot_be_staged_leaves_nothing(tmp_path, monkeypatch, call):
    monkeypatch.setattr(storage.os, call, full_disk)
    with pytest.raises(StorageError, match="No space left"), storage.staged_file(tmp_path / "bank", b"new"):
        pytest.fail("the block must not run")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_are_overwritten_before_they_go(tmp_path):
    leftover = tmp_path / ".bank.abc123.tmp"
    leftover.write_bytes(b"rows")
    with leftover.open("rb") as held:
        storage.remove_leftovers(tmp_path / "bank")
        assert held.read() == bytes(4)


@pytest.mark.parametrize("links", [True, False])
def test_what_is_replaced_is_overwritten_for_whoever_holds_it(bank, monkeypatch, links):
    path, held = bank

    def no_links(*_):
        raise OSError(errno.EPERM, "no links here")

    if not links:
        monkeypatch.setattr(storage.os, "link", no_links)
    with storage.staged_file(path, b"new") as staged:
        storage.replace_erasing(staged, path)
    assert path.read_bytes() == b"new"
    assert held.read() == bytes(4)
    assert list(path.parent.iterdir()) == [path]


def test_what_is_replaced_is_overwritten_under_its_other_name_too(bank, tmp_path):
    path, _ = bank
    (tmp_path / "other").hardlink_to(path)
    with storage.staged_file(path, b"new") as staged:
        storage.replace_erasing(staged, path)
    assert (tmp_path / "other").read_bytes() == bytes(4)


def test_a_replacement_that_cannot_start_changes_nothing(bank, monkeypatch):
    path, held = bank
    monkeypatch.setattr(storage.os, "link", full_disk)
    with storage.staged_file(path, b"new") as staged, pytest.raises(StorageError, match="what was there is unchanged"):
        storage.replace_erasing(staged, path)
    assert held.read() == b"rows"
    assert list(path.parent.iterdir()) == [path]


def test_erasing_that_failed_is_ended_by_the_next_start(bank, monkeypatch):
    path, held = bank
    with monkeypatch.context() as patch, storage.staged_file(path, b"new") as staged:
        patch.setattr(storage, "_overwrite", full_disk)
        with pytest.raises(StorageError, match="was replaced, but its old content is not yet overwritten"):
            storage.replace_erasing(staged, path)
    assert path.read_bytes() == b"new"
    assert held.read() == b"rows"
    storage.finish_erasing(path)
    held.seek(0)
    assert held.read() == bytes(4)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["hardlink_to", "symlink_to"])
def test_another_name_of_what_stands_is_removed_and_its_bytes_stay(bank, kind):
    path, _ = bank
    getattr(path.with_name(".bank.old"), kind)(path)
    storage.finish_erasing(path)
    assert path.read_bytes() == b"rows"
    assert list(path.parent.iterdir()) == [path]


def test_an_erased_file_is_overwritten_then_removed(bank):
    path, held = bank
    storage.erase(path)
    assert held.read() == bytes(4)
    assert not path.exists()
    with pytest.raises(StorageError, match="No such file"):
        storage.erase(path)


def test_erasing_never_follows_a_link(bank, tmp_path):
    path, _ = bank
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(StorageError):
        storage.erase(tmp_path / "link")
    assert path.read_bytes() == b"rows"


def test_a_secret_is_its_owners_alone_and_is_never_replaced(tmp_path):
    path = tmp_path / "key"
    umask = os.umask(0)
    try:
        storage.write_secret(path, b"secret")
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(StorageError, match="File exists"):
        storage.write_secret(path, b"other")
    assert path.read_bytes() == b"secret"


def test_a_secret_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.os, "fsync", full_disk)
    with pytest.raises(StorageError, match="No space left"):
        storage.write_secret(tmp_path / "key", b"secret")
    assert list(tmp_path.iterdir()) == []


def test_lines_are_appended_to_a_file_of_its_owner(tmp_path):
    path = tmp_path / "ledger"
    storage.append_line(path, b"one")
    storage.append_line(path, b"two")
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
    storage.append_line(path, b"next")
    assert path.read_bytes() == whole + b"next\n"


def test_a_line_that_cannot_be_flushed_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "ledger"
    storage.append_line(path, b"one")
    monkeypatch.setattr(storage.os, "fsync", full_disk)
    with pytest.raises(StorageError, match="what was there is unchanged"):
        storage.append_line(path, b"two")
    assert path.read_bytes() == b"one\n"


def test_a_disk_that_takes_a_byte_at_a_time_gets_the_whole_line(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(storage.os, "write", lambda descriptor, data: write(descriptor, data[:1]))
    storage.append_line(tmp_path / "ledger", b"one")
    assert (tmp_path / "ledger").read_bytes() == b"one\n"


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")


@as_root
@pytest.mark.parametrize("owner", [(65534, 65533), (0, 65533)])
def test_what_root_writes_stays_its_owners(tmp_path, owner):
    path = tmp_path / "bank"
    path.write_bytes(b"old")
    path.chmod(0o600)
    os.chown(path, *owner)
    storage.write_atomic(path, b"new")
    with storage.staged_file(path, b"newer") as staged:
        storage.replace_erasing(staged, path)
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

    monkeypatch.setattr(storage.os, "fchown", refuse)
    storage.write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert asked == [(-1, path.stat().st_gid), (path.stat().st_uid, -1)]


@as_root
def test_a_lock_that_root_makes_is_its_folders_owners(tmp_path):
    os.chown(tmp_path, 65534, 65533)
    with storage.exclusive(tmp_path), pytest.raises(StorageError), storage.exclusive(tmp_path, seconds=0.05):
        pytest.fail("two writers at once")
    status = (tmp_path / ".lock").stat()
    assert (status.st_uid, status.st_gid) == (65534, 65533)


@as_root
def test_a_lock_that_is_there_keeps_its_owner_and_a_link_is_not_followed(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    os.chown(folder, 65534, 65533)
    (folder / ".lock").touch()
    with storage.exclusive(folder):
        assert (folder / ".lock").stat().st_uid == 0
    (folder / ".lock").unlink()
    (folder / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError), storage.exclusive(folder):
        pytest.fail("the block must not run")
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_may_not_be_written_is_refused(bank, monkeypatch):
    path, _ = bank
    storage.require_writable(path)
    path.chmod(0o444)
    if os.geteuid() == 0:  # whom modes do not bind
        monkeypatch.setattr(storage.os, "access", lambda *_, **__: False)
    with pytest.raises(StorageError, match="Permission denied; what was there is unchanged"):
        storage.require_writable(path)


def test_a_folder_is_made_with_those_above_it(tmp_path):
    path = tmp_path / "state" / "keys"
    storage.make_folder(path, mode=0o700)
    storage.make_folder(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write"):
        storage.make_folder(tmp_path / "file" / "keys")
