"""Erasing: a file's bytes are overwritten before its last name goes, whenever the process is killed.

    with staged_file(bank, smaller) as new:      # a full disk is noticed here
        replace_erasing(new, bank)               # the old bank's bytes are zeros by now
    finish_erasing(bank)                         # after a crash, while holding the lock

A medium that moves its blocks (SSD) may keep copies of them all the same.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from pfedge_runtime.errors import StorageError
from pfedge_runtime.files.disk import overwrite, storage_error, sync_folder

NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP}  # what a file system without links answers


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
            overwrite(descriptor)
        finally:
            os.close(descriptor)
        old.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        if not replaced:
            raise storage_error(path, error) from error
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
        raise storage_error(old, error) from error
    remove_leftovers(path)


def erase(path: Path) -> None:
    """Overwrite a file's bytes, then remove it, durably.

    Raises:
        StorageError: it cannot be done.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0))
        try:
            overwrite(descriptor)
        finally:
            os.close(descriptor)
        path.unlink()
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error


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
        raise storage_error(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _old(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")
