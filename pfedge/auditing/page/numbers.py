"""Numbers and names as people read them.

>>> number(0.12345), number(12.3456), number(1.2e-7), number(-3), number(None)
('0.123', '12.35', '1.2e\u221207', '\u22123', '\u2014')
"""

from __future__ import annotations

import math
from typing import TypeGuard

NONE = "—"
SMALL, LARGE = 5e-4, 1e7  # beyond these a number is written with an exponent


def is_finite(value: float | None) -> TypeGuard[float]:
    """Whether there is a number."""
    return value is not None and math.isfinite(value)


def number(value: float | None, scale: float | None = None) -> str:
    """Return a number for people, with as many places as suit one of the size `scale`; a dash for none."""
    if not is_finite(value):
        return NONE
    size = abs(value) if scale is None else scale
    if isinstance(value, int):
        words = str(value)
    elif value and not SMALL <= size < LARGE:
        words = f"{value:.1e}"
    else:
        places = max(0, 3 - max(0, math.floor(math.log10(size or 1))))
        words = f"{round(value, places) + 0.0:.{places}f}"  # no minus before what is rounded to zero
    return words.replace("-", "\N{MINUS SIGN}")


def plain(value: float | None) -> str:
    """Return a number as it was given; a dash for none."""
    return NONE if value is None else f"{value:g}"


def printable(text: str) -> str:
    """Return `text` without what would hide or turn other text: control characters, half characters.

    >>> printable("ig" + chr(0x202e) + "x"), printable("two" + chr(10) + "lines")
    ('ig�x', 'two lines')
    """
    return "".join(char if char.isprintable() else " " if char.isspace() else "�" for char in text)
