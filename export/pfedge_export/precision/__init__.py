"""The same graph in fewer bits, and the gate that judges whether it may be kept.

    Calibration(bank, inputs, labels)                          # real inputs that show how large activations get
    to_fp16(graph), to_int8(graph, calibration)
    lower(...)                                                 # tries until the gate passes, or refuses

May import: `graph`, `parity`, and the runtime.
"""

from pfedge_export.precision.calibration import Calibration
from pfedge_export.precision.choices import QUANTIZATIONS, require_precision
from pfedge_export.precision.fp16 import to_fp16
from pfedge_export.precision.gate import MAX_DROP, GateError, Validation
from pfedge_export.precision.int8 import to_int8
from pfedge_export.precision.lowering import lower

__all__ = [
    "MAX_DROP",
    "QUANTIZATIONS",
    "Calibration",
    "GateError",
    "Validation",
    "lower",
    "require_precision",
    "to_fp16",
    "to_int8",
]
