"""One writer at a time: the lock of a folder, which the system lets go of when its process dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pfedge_runtime.errors import StorageError
from pfedge_runtime.files.disk import give, storage_error

LOCK_SECONDS = 10.0


@contextmanager
def exclusive(folder: Path, *, seconds: float | None = None) -> Iterator[None]:
    """Hold the one writer's lock of a folder, so that two forgets cannot undo each other.

    Raises:
        StorageError: another process has held the lock for that long (10 seconds), or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    _make_lock(folder / ".lock")
    lock = FileLock(folder / ".lock", timeout=LOCK_SECONDS if seconds is None else seconds)
    try:
        lock.acquire()
    except Timeout as error:
        message = f"{folder} is being changed by another process; nothing was done, try again"
        raise StorageError(message) from error
    except OSError as error:
        raise storage_error(folder / ".lock", error) from error
    try:
        yield
    finally:
        lock.release()


def _make_lock(path: Path) -> None:
    """Make the lock of a folder of somebody else's his; acquiring it says what stands against it."""
    with suppress(OSError):
        owner = path.parent.stat()
        if os.name == "nt" or owner.st_uid == os.geteuid() or path.exists():
            return
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            give(descriptor, owner)
        finally:
            os.close(descriptor)
