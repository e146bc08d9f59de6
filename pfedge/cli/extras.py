"""Turning a missing package into advice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pfedge_runtime.errors import MissingExtraError


@contextmanager
def needs(extra: str, verb: str) -> Iterator[None]:
    """Report a package that is not installed as the extra that brings it.

    Raises:
        MissingExtraError: an import in the block failed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        what = f"pfedge {verb} (it misses the package {error.name})"
        raise MissingExtraError(what, extra) from error
