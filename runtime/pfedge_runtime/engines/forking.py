"""What becomes of an engine in a forked child, which has none of its parent's threads.

    reopen_after_fork(engine)       # last line of an engine's constructor

Who tears a session down waits for its threads. A child that forked after a session was opened would wait for ever, at
its very end. So the child never tears down what it inherited, and opens a session of its own when it first needs one.
"""

from __future__ import annotations

import ctypes
import os
from typing import Protocol
from weakref import WeakSet


class Reopens(Protocol):
    """An engine that can open its session again."""

    def forked(self) -> None:
        """Forget session, bank and locks; called in the child. The next run opens a session."""


_ENGINES: WeakSet[Reopens] = WeakSet()


def reopen_after_fork(engine: Reopens) -> None:
    """Have `engine.forked()` called in every child that this process forks while the engine lives."""
    _ENGINES.add(engine)


def _in_child() -> None:
    for engine in tuple(_ENGINES):
        for part in vars(engine).values():  # one reference too many: what has one is never torn down
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(part))
        engine.forked()


if hasattr(os, "register_at_fork"):  # Windows cannot fork
    os.register_at_fork(after_in_child=_in_child)
