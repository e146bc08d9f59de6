"""Stopping a long job at a good moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pfedge_runtime.errors import PfedgeError


class TrainingInterruptedError(PfedgeError):
    """Training was stopped on purpose; its state is saved."""

    exit_code = 130

    def __init__(self, folder: Path) -> None:
        """Say how to go on."""
        super().__init__(f"interrupted; the state is saved in {folder}: the same command with --resume goes on")


class StopRequest:
    """Turns the first Ctrl-C (or SIGTERM) into a request to stop after the step; the second one stops at once."""

    def __init__(self, on_request: Callable[[], None] = lambda: None) -> None:
        """Begin without a request; `on_request` is called when there is one, to tell the user."""
        self.requested = False
        self._on_request = on_request
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:  # noqa: PYI034 -- final in practice
        """Install the handlers, where this is the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        """Put the former handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, _frame: object) -> None:
        if self.requested:
            raise KeyboardInterrupt(number)
        self.requested = True
        self._on_request()
