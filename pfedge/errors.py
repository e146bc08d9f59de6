"""Errors of the trainer's side, beside those of the runtime."""

from __future__ import annotations

from pfedge_runtime.errors import PfedgeError


class DataError(PfedgeError):
    """A data set that is missing, damaged or of a kind that pfedge does not handle."""


class BackboneError(PfedgeError):
    """A backbone that cannot be loaded or is not of a supported kind."""


class RunError(PfedgeError):
    """A run folder that is missing, damaged, or does not fit what is asked of it."""
