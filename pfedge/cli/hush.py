"""Warnings and logs of libraries: not for the user of a command line, and no reason to end a run.

PFEDGE_DEBUG=1 pfedge train ...      # shows them on standard error
"""

from __future__ import annotations

import logging
import os
import warnings

DEBUG = "PFEDGE_DEBUG"


def hush_libraries() -> None:
    """Send warnings and logs to one handler, which says them if PFEDGE_DEBUG is 1, and otherwise nothing.

    Without a handler Python prints what a library logs as a warning; under `python -W error` a warning ends the run.
    """
    debug = os.environ.get(DEBUG) == "1"
    warnings.resetwarnings()  # `-W error` means the caller's own code, and pfedge is not that
    logging.captureWarnings(capture=True)
    handler: logging.Handler = logging.StreamHandler() if debug else logging.NullHandler()
    handler.setFormatter(logging.Formatter("debug: %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.DEBUG if debug else logging.WARNING)
