"""Warnings of the libraries that decode images: neither shown raw, nor able to end a run under `python -W error`.

    with quiet():
        picture = Image.open(path)

What matters in them is found by pfedge's own checks, and said as an error that names the file.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STDERR = 2
PIPE_SIZE = 2**16

_lock = threading.Lock()
_stderr_lock = threading.Lock()
_inside = 0
_filters: warnings.catch_warnings[None] | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings until the last thread has left.

    The filters belong to the process, not to a thread: were each thread to save and restore them, one could
    restore what another had set. So the first to enter sets them, and the last to leave restores them.
    """
    global _inside, _filters  # noqa: PLW0603 -- as the filters are the process's, so is the count
    with _lock:
        if not _inside:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.simplefilter("ignore")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _filters is not None:
                _filters.__exit__(None, None, None)
                _filters = None


@contextmanager
def quiet_native() -> Iterator[list[str]]:
    """Keep what native code writes to the process's stderr, and give it as lines at the end.

    Some decoders know no other way to say that data is damaged. What others wrote meanwhile is among the lines:
    whoever asks takes what is theirs, and `write_back`s the rest.
    """
    lines: list[str] = []
    with _stderr_lock:
        try:
            saved = os.dup(STDERR)
        except OSError:  # a service without stderr
            yield lines
            return
        reader, writer = os.pipe()
        for end in (reader, writer):  # what does not fit is lost; nobody waits for the other
            os.set_blocking(end, False)
        os.dup2(writer, STDERR)
        os.close(writer)
        try:
            yield lines
        finally:
            os.dup2(saved, STDERR)
            os.close(saved)
            with suppress(BlockingIOError):  # a child that another thread has started may hold the pipe open
                lines += os.read(reader, PIPE_SIZE).decode(errors="replace").splitlines()
            os.close(reader)


def write_back(lines: list[str]) -> None:
    """Write lines of others to stderr after all."""
    for line in lines:
        os.write(STDERR, f"{line}\n".encode())
