"""Which class has which id: a list of names that fixes it, and the check that two lists agree.

read_classes(Path("classes.txt"))               # ("cat", "dog"): the line's number, from 0, is the class id
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from pfedge.errors import DataError
from pfedge_runtime.spelling import composed

MOST_NAMED = 3


def read_classes(path: Path) -> tuple[str, ...]:
    """Read class names, one a line; lines at the end may be empty.

    Raises:
        DataError: it cannot be read, an earlier line is empty, or a name stands there twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read the class names in {path}: {error}"
        raise DataError(message) from error
    names = [composed(line.strip()) for line in lines]
    while names and not names[-1]:
        names.pop()
    if not names or "" in names:
        what = f"line {names.index('') + 1} is empty" if names else "it is empty"
        message = f"{path} must hold one class name a line: {what}"
        raise DataError(message)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = f"{path} names {', '.join(twice)} more than once"
        raise DataError(message)
    return tuple(names)


def difference(expected: Sequence[str], found: Sequence[str]) -> str:
    """Return how the classes found differ from those expected; it is empty where each id has one name.

    >>> difference(["cat", "dog"], ["cat", "fox", "eel"])
    "class 1 is 'dog', and 'fox' there, class 2 is nothing, and 'eel' there"
    """

    def named(name: str | None) -> str:
        return "nothing" if name is None else repr(composed(name))

    pairs = [(named(one), named(other)) for one, other in zip_longest(expected, found)]
    differing = [
        f"class {class_id} is {one}, and {other} there" for class_id, (one, other) in enumerate(pairs) if one != other
    ]
    more = f", and {len(differing) - MOST_NAMED} more" if len(differing) > MOST_NAMED else ""
    return ", ".join(differing[:MOST_NAMED]) + more


def require_same(expected: Sequence[str], found: Sequence[str], *, name: str) -> None:
    """Check that a data set's class ids mean what they meant in training.

    Data without names of their own, classes called `0`, `1`, `2`, contradict nothing. Neither do fewer classes.

    Raises:
        DataError: an id means another class.
    """
    if _is_nameless(expected) or _is_nameless(found):
        return
    if differs := difference(expected[: len(found)], found):
        message = f"the class ids of {name} are not those of training: {differs}; --classes FILE fixes them"
        raise DataError(message)


def _is_nameless(names: Sequence[str]) -> bool:
    return all(name == str(class_id) for class_id, name in enumerate(names))
