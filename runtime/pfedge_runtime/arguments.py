"""One text or several, one path or several: what a caller may give where several are taken.

    as_texts("10")              # ("10",), and never ("1", "0")
    as_texts(["3", "7"])        # ("3", "7")
    as_paths("scans")           # (Path("scans"),)

To Python a text is a sequence of texts, one for each character, and no type checker objects.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pfedge_runtime.errors import UsageError

Texts = str | Iterable[str]
OnePath = str | os.PathLike[str]
Paths = OnePath | Iterable[OnePath]


def as_texts(value: Texts) -> tuple[str, ...]:
    """Return the texts; one text is one.

    >>> as_texts("10")
    ('10',)

    Raises:
        UsageError: something in it is no text, such as the number 3.
    """
    texts = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    for text in texts:
        if not isinstance(text, str):
            message = f"{text!r} is a {type(text).__name__}, not a text: write {str(text)!r} in quotes"
            raise UsageError(message)
    return texts


def as_paths(value: Paths) -> Iterable[Path]:
    """Return the paths, lazily; one path is one.

    >>> list(as_paths("scans"))
    [PosixPath('scans')]

    Raises:
        UsageError: it is neither a path nor a sequence of paths.
    """
    if isinstance(value, (str, os.PathLike)):
        return (Path(value),)
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        message = f"{value!r} is a {type(value).__name__}, not a path"
        raise UsageError(message)
    return map(Path, value)
