"""An attribute that is computed when it is first asked for, and kept.

    @once
    def digest(self) -> str: ...

`functools.cached_property` does that too, but until Python 3.12 under a lock that all instances share: of heads
solved and rows hashed by several threads, one was computed at a time. Here two threads that ask the same instance
at once may both compute it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801 -- a decorator, as property is
    """See the module."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        """Take the method."""
        self._compute, self._name = compute, compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> once[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> once[T] | T:
        """Return the value; it then stands in the instance, where Python looks first."""
        if instance is None:
            return self
        value: T = instance.__dict__.setdefault(self._name, self._compute(instance))
        return value
