"""Durable writes: the only module of the runtime that writes files.

A file is replaced by *write new file, fsync, rename, fsync folder*, so that a crash at any instant leaves
either the old file or the new one, whole. A folder is built beside its destination and renamed into place.

    write_atomic(Path("bundle/bank.safetensors"), data)
    with staged_folder(Path("bundle")) as folder:
        (folder / "graph.onnx").write_bytes(graph)
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pfedge_runtime.errors import StorageError

LOCK_SECONDS = 10.0
NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP}  # what a file system without links answers


def write_atomic(path: Path, data: bytes | bytearray) -> None:
    """Replace `path` by `data`, durably and all or nothing.

    Raises:
        StorageError: the write failed (disk full, no permission) and `path` is as it was; or it was replaced and
            only the last flush of its folder failed. The message says which.
    """
    with staged_file(path, data) as temporary:
        try:
            temporary.replace(path)
        except OSError as error:
            raise _storage_error(path, error) from error
        _confirm(path)


@contextmanager
def staged_file(path: Path, data: bytes | bytearray) -> Iterator[Path]:
    """Yield a durable file with `data` beside `path`; it is removed unless it was renamed.

    It has `path`'s mode, and its owner and group where that is permitted: root must not lock a bundle's user out.

    Raises:
        StorageError: it cannot be written; nothing is left behind.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise _storage_error(path, error) from error
    temporary = Path(name)
    try:
        try:
            if path.exists():
                _give(descriptor, path.stat())
            temporary.chmod(path.stat().st_mode if path.exists() else _default_mode())
            _write(descriptor, data)
            os.fsync(descriptor)
        except OSError as error:
            raise _storage_error(path, error) from error
        finally:
            os.close(descriptor)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def replace_erasing(temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path`, and overwrite the old file's bytes before its last link goes.

    The old file keeps a second name until it is overwritten, so that what a crash interrupts `finish_erasing` can end.
    Where the file system has no links (FAT), the bytes are overwritten too, but a crash in between leaves them in
    blocks that no file has.

    Raises:
        StorageError: a step failed. The message says whether `path` is replaced.
    """
    old = _old(path)
    replaced = False
    try:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            try:
                os.link(path, old)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
            temporary.replace(path)
            replaced = True
            sync_folder(path.parent)
            _overwrite(descriptor)
        finally:
            os.close(descriptor)
        old.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        if not replaced:
            raise _storage_error(path, error) from error
        message = f"{path} was replaced, but its old content is not yet overwritten ({error.strerror}): repeat it"
        raise StorageError(message) from error


def finish_erasing(path: Path) -> None:
    """End what a killed `replace_erasing` of `path` left undone. Call it only while holding the lock.

    Raises:
        StorageError: what was left cannot be overwritten or removed.
    """
    old = _old(path)
    try:
        if old.is_symlink() or (old.exists() and path.exists() and old.samefile(path)):
            old.unlink()  # killed before the rename: it is another name of what still stands
        elif old.exists():
            erase(old)
    except OSError as error:
        raise _storage_error(old, error) from error
    remove_leftovers(path)


def erase(path: Path) -> None:
    """Overwrite a file's bytes, then remove it, durably. A medium that moves its blocks (SSD) may keep copies.

    Raises:
        StorageError: it cannot be done.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0))
        try:
            _overwrite(descriptor)
        finally:
            os.close(descriptor)
        path.unlink()
        sync_folder(path.parent)
    except OSError as error:
        raise _storage_error(path, error) from error


def write_secret(path: Path, data: bytes | bytearray) -> None:
    """Write a new file that only its owner may read, durably.

    Raises:
        StorageError: it is there already, or cannot be written; nothing is left behind.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise _storage_error(path, error) from error
    try:
        try:
            _write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise _storage_error(path, error) from error


def append_line(path: Path, line: bytes) -> None:
    """Append a line and flush it; the file is made, for its owner only, if it is not there. Hold the lock.

    A last line without its end is what a killed append left: it was never acknowledged, and is cut off first.

    Raises:
        StorageError: it cannot be written; the file is as it was.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _storage_error(path, error) from error
    try:
        size = _whole_lines(descriptor)
        os.ftruncate(descriptor, size)
        os.lseek(descriptor, size, os.SEEK_SET)
        try:
            _write(descriptor, line + b"\n")
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        if not size:
            sync_folder(path.parent)
    except OSError as error:
        raise _storage_error(path, error) from error
    finally:
        os.close(descriptor)


def remove_leftovers(path: Path) -> None:
    """Overwrite and remove what a killed write of `path` left beside it. Call it only while holding the lock.

    Raises:
        StorageError: a leftover cannot be removed.
    """
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        erase(leftover)


def require_sole_copy(path: Path) -> None:
    """Refuse a file that is a link, or has another name: replacing it would leave the old content there.

    Raises:
        StorageError: it is one.
    """
    try:
        linked = path.is_symlink() or path.stat().st_nlink > 1
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise StorageError(message) from error
    if linked:
        message = f"{path} is a link, and rows would survive under the file's other name: put a real copy there"
        raise StorageError(message)


def require_writable(path: Path) -> None:
    """Refuse a file that `replace_erasing` could not overwrite.

    Raises:
        StorageError: it is one.
    """
    if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise _storage_error(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


@contextmanager
def staged_folder(destination: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `destination` when the block succeeds and vanishes when it fails.

    Raises:
        StorageError: a write failed, or `destination` exists and is not empty.
    """
    require_vacant(destination)
    stage = None
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", suffix=".tmp", dir=destination.parent))
        stage.chmod(_default_mode() | 0o111)
        yield stage
        for file in stage.rglob("*"):
            if file.is_file():
                sync_file(file)
        sync_folder(stage)
        if destination.exists():
            destination.rmdir()
        stage.replace(destination)
        sync_folder(destination.parent)
    except OSError as error:
        raise _storage_error(destination, error) from error
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)


def require_vacant(folder: Path) -> None:
    """Refuse a destination that already holds something.

    Raises:
        StorageError: `folder` is a file, or a folder with files in it.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        message = f"{folder} exists and is not empty: choose another place or remove it first"
        raise StorageError(message)


def make_folder(path: Path, *, mode: int = 0o777) -> None:
    """Make a folder, and those above it, where there is none.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise _storage_error(path, error) from error


@contextmanager
def exclusive(folder: Path, *, seconds: float | None = None) -> Iterator[None]:
    """Hold the one writer's lock of a folder, so that two forgets cannot undo each other.

    Raises:
        StorageError: another process has held the lock for that long (10 seconds), or the folder cannot be written.
    """
    _make_lock(folder / ".lock")
    lock = FileLock(folder / ".lock", timeout=LOCK_SECONDS if seconds is None else seconds)
    try:
        lock.acquire()
    except Timeout as error:
        message = f"{folder} is being changed by another process; nothing was done, try again"
        raise StorageError(message) from error
    except OSError as error:
        raise _storage_error(folder / ".lock", error) from error
    try:
        yield
    finally:
        lock.release()


def sync_file(path: Path) -> None:
    """Flush a file's content to the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to the disk, where the platform lets a folder be opened (Windows does not)."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_lock(path: Path) -> None:
    """Make the lock of a folder of somebody else's his; acquiring it says what stands against it."""
    with suppress(OSError):
        owner = path.parent.stat()
        if os.name == "nt" or owner.st_uid == os.geteuid() or path.exists():
            return
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            _give(descriptor, owner)
        finally:
            os.close(descriptor)


def _give(descriptor: int, to: os.stat_result) -> None:
    """Give an open file the owner and the group of another, each where that is permitted."""
    if os.name != "nt":
        for owner, group in ((-1, to.st_gid), (to.st_uid, -1)):
            with suppress(OSError):
                os.fchown(descriptor, owner, group)


def _write(descriptor: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _overwrite(descriptor: int) -> None:
    """Put zeros in the place of an open file's bytes, and flush them."""
    left = os.fstat(descriptor).st_size
    zeros = memoryview(bytes(min(left, 1 << 20)))
    os.lseek(descriptor, 0, os.SEEK_SET)
    while left:
        left -= os.write(descriptor, zeros[: min(left, len(zeros))])
    os.fsync(descriptor)


def _whole_lines(descriptor: int) -> int:
    """Return how many bytes of an open file are lines with an end."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - 4096)
        os.lseek(descriptor, start, os.SEEK_SET)
        found = os.read(descriptor, end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _confirm(path: Path) -> None:
    try:
        sync_folder(path.parent)
    except OSError as error:
        message = f"{path} was replaced, but the disk did not confirm it ({error.strerror}): check it after a restart"
        raise StorageError(message) from error


def _default_mode() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _storage_error(path: Path, error: OSError) -> StorageError:
    reason = error.strerror or str(error)
    with suppress(OSError):
        if path.exists():
            return StorageError(f"cannot write {path}: {reason}; what was there is unchanged")
    return StorageError(f"cannot write {path}: {reason}")
