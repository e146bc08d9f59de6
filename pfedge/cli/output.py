"""What the command line prints: lines for people, JSON for machines.

Names of files, classes and devices come from elsewhere. A line break in one must not look like a line of pfedge's, a
tab not like a column, and no terminal may act on any of them; so all that is printed goes through `say`.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from io import TextIOWrapper
from pathlib import Path
from typing import Any

_REMARKS = {"wanted": True}  # of this process: what `pfedge --quiet` sets


def say(*cells: str, err: bool = False) -> None:
    """Print one line, its cells parted by tabs, on standard output or on standard error."""
    _write("\t".join(map(printable, cells)), err=err)


def printable(text: str) -> str:
    r"""Escape what is no sign to be seen: line breaks, tabs, terminal codes, marks that turn the writing direction.

    >>> print(printable("scan\n.png"))
    scan\n.png
    """
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def print_json(kind: str, value: Mapping[str, Any]) -> None:
    """Print a JSON object on a line, with null for what is no finite number.

    Its first key is `schema`, `pfedge-KIND/1`: `pfedge/schemas/KIND.json` says what the object holds.
    """
    from pfedge_runtime.files import finite

    _write(json.dumps(finite({"schema": f"pfedge-{kind}/1", **value}), allow_nan=False))


def suggest(*words: object) -> None:
    """Print on standard error what to type next, unless `pfedge --quiet` was asked for; never under `--json`."""
    typed = (shlex.quote(str(word)) if isinstance(word, Path) else str(word) for word in words)
    remark(f"next: pfedge {' '.join(typed)}")


def remark(text: str) -> None:
    """Print a line on standard error that is no answer and no error, unless `pfedge --quiet` was asked for."""
    if _REMARKS["wanted"]:
        say(text, err=True)


def set_quiet(quiet: bool) -> None:  # noqa: FBT001 -- it is the one thing that is said
    """Leave out remarks from now on, or no longer."""
    _REMARKS["wanted"] = not quiet


def escape_unknown_signs() -> None:
    """Have standard output and error escape signs that their encoding lacks, instead of ending the run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _write(line: str, *, err: bool = False) -> None:
    # not click's echo, which writes UTF-8 to a terminal that said it takes ASCII
    print(line, file=sys.stderr if err else sys.stdout, flush=True)
