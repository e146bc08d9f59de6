"""Appending to a file of lines: when the call returns, the line is flushed; a killed append counts for nothing."""

from __future__ import annotations

import os
from pathlib import Path

from pfedge_runtime.files.disk import storage_error, sync_folder, write_all


def append_line(path: Path, line: bytes) -> None:
    """Append a line and flush it; the file is made, for its owner only, if it is not there. Hold the lock.

    A last line without its end is what a killed append left: it was never acknowledged, and is cut off first.

    Raises:
        StorageError: it cannot be written; the file is as it was.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        size = _whole_lines(descriptor)
        os.ftruncate(descriptor, size)
        os.lseek(descriptor, size, os.SEEK_SET)
        try:
            write_all(descriptor, line + b"\n")
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        if not size:
            sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        os.close(descriptor)


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
