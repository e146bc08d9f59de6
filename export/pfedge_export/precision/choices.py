"""Which precisions and quantisations there are, and which of them keep a guarantee."""

from __future__ import annotations

from pfedge_runtime.bank import guarantee as guarantee_of
from pfedge_runtime.errors import UsageError

PRECISIONS = ("fp32", "fp16", "int8")
QUANTIZATIONS = ("dynamic", "tensor", "static")


def require_precision(precision: str, quantization: str, guarantee: str) -> None:
    """Check that there is such a precision and quantisation, and that it keeps the guarantee.

    Raises:
        UsageError: it is not so, there is no such guarantee, or quantisation is asked for without int8.
    """
    for what, chosen, known in (
        ("precision", precision, PRECISIONS),
        ("quantization", quantization, QUANTIZATIONS),
    ):
        if chosen not in known:
            message = f"unknown {what} {chosen!r}: choose {', '.join(known)}"
            raise UsageError(message)
    if precision != "int8" and quantization != QUANTIZATIONS[0]:
        message = f"--quantization {quantization} is of --precision int8, not of {precision}"
        raise UsageError(message)
    if guarantee_of(guarantee).scores_stay and quantization == "tensor":
        message = "--quantization tensor gives all rows one scale, so that dropping one would move the others' scores"
        raise UsageError(message)
