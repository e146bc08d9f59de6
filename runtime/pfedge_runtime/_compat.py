"""What older Pythons lack.

`cached_property` is `functools.cached_property` from Python 3.12 on. Python 3.11 has it under a lock that all
instances of a class share: of heads solved and rows hashed by several threads, one was computed at a time. The
stand-in has no lock. Two threads that ask the same instance at once may both compute the value; the first one stays.
"""

from __future__ import annotations

import sys

if sys.version_info >= (3, 12):
    from functools import cached_property
else:
    from collections.abc import Callable
    from typing import Any, Generic, TypeVar, overload

    T = TypeVar("T")

    class cached_property(Generic[T]):  # noqa: N801 -- it bears the name of what it stands in for
        """An attribute that is computed when it is first asked for, and kept."""

        def __init__(self, compute: Callable[[Any], T]) -> None:
            self._compute, self._name = compute, compute.__name__
            self.__doc__ = compute.__doc__

        @overload
        def __get__(self, instance: None, owner: type) -> cached_property[T]: ...
        @overload
        def __get__(self, instance: object, owner: type) -> T: ...
        def __get__(self, instance: object | None, owner: type) -> cached_property[T] | T:
            """Return the value, which from then on stands in the instance, where Python looks first."""
            if instance is None:
                return self
            value: T = instance.__dict__.setdefault(self._name, self._compute(instance))
            return value


__all__ = ["cached_property"]
