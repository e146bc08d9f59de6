"""Train, export and run vision models that can forget a class by dropping one row.

    pfedge train --dataset bloodmnist       # frozen backbone, one removable row per class
    pfedge export RUN                       # an ONNX graph that takes the rows as an input
    pfedge predict cell.png                 # on the device, without PyTorch
    pfedge forget --class 3                 # drops the row: no data, no training, no re-export

The method is "Pre-Forgettable Models" (Hendrix et al., ACM MM 2025, arXiv 2509.15230).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pfedge_runtime  # noqa: F401 -- before every library: it keeps them from calling their makers

if TYPE_CHECKING:
    from pfedge.api import (
        AuditSettings,
        EvalSettings,
        ExportSettings,
        Run,
        TrainConfig,
        TrainSettings,
        audit,
        evaluate,
        export,
        train,
    )

__version__ = "0.1.0"

__all__ = [
    "AuditSettings",
    "EvalSettings",
    "ExportSettings",
    "Run",
    "TrainConfig",
    "TrainSettings",
    "__version__",
    "audit",
    "evaluate",
    "export",
    "train",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- whatever has that name
    """Import the trainer when it is first used: the device's verbs need none of it (PEP 562)."""
    if name in __all__:
        return getattr(import_module("pfedge.api"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
