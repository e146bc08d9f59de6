"""Sweeping: copies of forgotten rows are looked for in folders, and dropped where that can be done.

    findings = sweep(Trace.of(bundle, rows), [Path("/mnt/backup")], bundle.state)

May import: `forgetting`, `bundle`, `device`, `bank`, `files`, `errors`.
"""

from pfedge_runtime.sweeping.copies import DROPPED, ERASED, NOT_REACHED, Finding, open_file, sweep
from pfedge_runtime.sweeping.traces import Trace

__all__ = [
    "DROPPED",
    "ERASED",
    "NOT_REACHED",
    "Finding",
    "Trace",
    "open_file",
    "sweep",
]
