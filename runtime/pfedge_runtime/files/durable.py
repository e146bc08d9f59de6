"""Durable writes: a file or a folder is there whole, or not at all.

A file is replaced by *write new file, fsync, rename, fsync folder*, so that a crash at any instant leaves
either the old file or the new one, whole. A folder is built beside its destination and renamed into place.

    write_atomic(Path("bundle/manifest.json"), data)
    with staged_folder(Path("bundle")) as folder:
        (folder / "graph.onnx").write_bytes(graph)

What a file held before stays in blocks that no file has: where that must not be, `erasing` replaces it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pfedge_runtime.errors import StorageError
from pfedge_runtime.files.disk import give, storage_error, sync_file, sync_folder, write_all


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
            raise storage_error(path, error) from error
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
        raise storage_error(path, error) from error
    temporary = Path(name)
    try:
        try:
            if path.exists():
                give(descriptor, path.stat())
            temporary.chmod(path.stat().st_mode if path.exists() else _default_mode())
            write_all(descriptor, data)
            os.fsync(descriptor)
        except OSError as error:
            raise storage_error(path, error) from error
        finally:
            os.close(descriptor)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def write_secret(path: Path, data: bytes | bytearray) -> None:
    """Write a new file that only its owner may read, durably.

    Raises:
        StorageError: it is there already, or cannot be written; nothing is left behind.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise storage_error(path, error) from error


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
        raise storage_error(destination, error) from error
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
        raise storage_error(path, error) from error


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
