"""Warnings of the libraries that decode images: neither shown raw, nor able to end a run under `python -W error`.

    with quiet():
        picture = Image.open(path)

What matters in them is found by pfedge's own checks, and said as an error that names the file.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
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
