"""What the command line prints: lines for people, JSON for machines.

Names of files, classes and devices come from elsewhere. A line break in one must not look like a line of pfedge's, a
tab not like a column, and no terminal may act on any of them; so all that is printed goes through `say`.
"""

from __future__ import annotations

import json
import sys
from io import TextIOWrapper
from typing import Any


def say(*cells: str, err: bool = False) -> None:
    """Print one line, its cells parted by tabs, on standard output or on standard error."""
    _write("\t".join(map(printable, cells)), err=err)


def printable(text: str) -> str:
    r"""Escape what is no sign to be seen: line breaks, tabs, terminal codes, marks that turn the writing direction.

    >>> print(printable("scan\n.png"))
    scan\n.png
    """
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def print_json(value: Any) -> None:  # noqa: ANN401 -- JSON
    """Print JSON values on a line, with null for what is no finite number."""
    from pfedge_runtime.files import finite

    _write(json.dumps(finite(value), allow_nan=False))


def escape_unknown_signs() -> None:
    """Have standard output and error escape signs that their encoding lacks, instead of ending the run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _write(line: str, *, err: bool = False) -> None:
    # not click's echo, which writes UTF-8 to a terminal that said it takes ASCII
    print(line, file=sys.stderr if err else sys.stdout, flush=True)
