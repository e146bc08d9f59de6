"""Durable writes: the only module of the runtime that writes files.

A file is replaced by *write new file, fsync, rename, fsync folder*, so that a crash at any instant leaves
either the old file or the new one, whole. A folder is built beside its destination and renamed into place.

    write_atomic(Path("bundle/bank.safetensors"), data)
    with staged_folder(Path("bundle")) as folder:
        (folder / "graph.onnx").write_bytes(graph)
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import rfc8785
from filelock import FileLock, Timeout

from pfedge_runtime.errors import StorageError

LOCK_SECONDS = 10.0


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, durably and all or nothing.

    Raises:
        StorageError: the write failed (disk full, no permission) and `path` is as it was; or it was replaced and
            only the last flush of its folder failed. The message says which.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise _storage_error(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            temporary.chmod(path.stat().st_mode if path.exists() else _default_mode())
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _storage_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    try:
        sync_folder(path.parent)
    except OSError as error:
        message = f"{path} was replaced, but the disk did not confirm it ({error.strerror}): check it after a restart"
        raise StorageError(message) from error


def remove_leftovers(path: Path) -> None:
    """Remove what a killed `write_atomic` of `path` left beside it. Call it only while holding the lock.

    Raises:
        StorageError: a leftover cannot be removed.
    """
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        try:
            leftover.unlink()
        except OSError as error:
            raise _storage_error(leftover, error) from error


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


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the one writer's lock of a bundle, so that two forgets cannot undo each other.

    Raises:
        StorageError: another process has held the lock for 10 seconds, or the folder cannot be written.
    """
    lock = FileLock(folder / ".lock", timeout=LOCK_SECONDS)
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


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits.

    Raises:
        StorageError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise StorageError(message) from error


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 -- any JSON value
    """Return the canonical encoding of a JSON value (RFC 8785): sorted keys, no spaces, UTF-8."""
    return rfc8785.dumps(value)


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
