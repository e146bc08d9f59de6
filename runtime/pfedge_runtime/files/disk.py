"""What this room does with descriptors: write all of it, overwrite it, flush it, hand it to its owner."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from pfedge_runtime.errors import StorageError


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


def write_all(descriptor: int, data: bytes | bytearray) -> None:
    """Write all of `data`, however little of it the system takes at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def overwrite(descriptor: int) -> None:
    """Put zeros in the place of an open file's bytes, and flush them."""
    left = os.fstat(descriptor).st_size
    zeros = memoryview(bytes(min(left, 1 << 20)))
    os.lseek(descriptor, 0, os.SEEK_SET)
    while left:
        left -= os.write(descriptor, zeros[: min(left, len(zeros))])
    os.fsync(descriptor)


def give(descriptor: int, to: os.stat_result) -> None:
    """Give an open file the owner and the group of another, each where that is permitted."""
    if os.name != "nt":
        for owner, group in ((-1, to.st_gid), (to.st_uid, -1)):
            with suppress(OSError):
                os.fchown(descriptor, owner, group)


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return the error that says why `path` cannot be written, and that what was there still is."""
    reason = error.strerror or str(error)
    with suppress(OSError):
        if path.exists():
            return StorageError(f"cannot write {path}: {reason}; what was there is unchanged")
    return StorageError(f"cannot write {path}: {reason}")
