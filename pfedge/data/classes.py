"""Which class has which id: a list of names that fixes it, and the check that two lists agree.

read_classes(Path("classes.txt"))               # ("cat", "dog"): the line's number, from 0, is the class id
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """Return how the classes of a data set differ from those expected; it is empty where each id has one name.

    Data without names of their own, classes called `0`, `1`, `2`, differ from nothing. Neither do fewer classes, if
    their ids are the same.

    >>> difference(["cat", "dog"], ["cat", "fox"])
    "class 1 is 'dog', and 'fox' there"
    """
    if any(all(name == str(class_id) for class_id, name in enumerate(names)) for names in (expected, found)):
        return ""
    pairs = [(expected[class_id] if class_id < len(expected) else None, name) for class_id, name in enumerate(found)]
    differing = [
        f"class {class_id} is {name!r} there, and unknown here"
        if known is None
        else f"class {class_id} is {known!r}, and {name!r} there"
        for class_id, (known, name) in enumerate(pairs)
        if known is None or composed(known) != composed(name)
    ]
    more = f", and {len(differing) - MOST_NAMED} more" if len(differing) > MOST_NAMED else ""
    return ", ".join(differing[:MOST_NAMED]) + more


def require_same(expected: Sequence[str], found: Sequence[str], *, name: str) -> None:
    """Check that a data set's class ids mean what they meant in training.

    Raises:
        DataError: they do not.
    """
    if differs := difference(expected, found):
        message = f"the class ids of {name} are not those of training: {differs}; --classes FILE fixes them"
        raise DataError(message)
