"""Run folders: what `pfedge train` leaves and every later verb reads.

    run = Run.open(Path("runs/blood"))
    run.config.train.guarantee, run.metrics.test_accuracy, run.read_model().tensors

`run` writes and opens them, with torch; `config` and `metrics` are what stands in them, typed; `sweep` takes rows out
of them on a machine without torch, for `pfedge forget --sweep`. For its sake each name is imported when it is first
used (PEP 562).

It may import `pfedge.backbone`, `pfedge.data` and what lies below; it knows nothing of guarantees.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pfedge.runs.config import RunConfig, TrainConfig
    from pfedge.runs.metrics import EpochRecord, Metrics
    from pfedge.runs.run import AUDIT, MODEL, RESUME, UNREADABLE, Run, RunFile
    from pfedge.runs.sweep import sweep_runs

__all__ = [
    "AUDIT",
    "MODEL",
    "RESUME",
    "UNREADABLE",
    "EpochRecord",
    "Metrics",
    "Run",
    "RunConfig",
    "RunFile",
    "TrainConfig",
    "sweep_runs",
]

_HOMES = {
    "AUDIT": "run",
    "MODEL": "run",
    "RESUME": "run",
    "UNREADABLE": "run",
    "EpochRecord": "metrics",
    "Metrics": "metrics",
    "Run": "run",
    "RunConfig": "config",
    "RunFile": "run",
    "TrainConfig": "config",
    "sweep_runs": "sweep",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- PEP 562
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
