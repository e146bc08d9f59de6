r"""Elements of a page, and numbers for people.

    element("p", "a < b")                   # '<p>a &lt; b</p>\n'
    table("Caption", ("What", "Value"), [("seed", "0")])

`Html` is text that is markup already; all other text is escaped where it enters an element, wherever it came from.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import TypeGuard

from pfedge.auditing.page import figures

VOID = {"meta"}
BLOCKS = {"p", "ul", "li", "dl", "dd", "tr", "table", "section", "figure", "h1", "h2", "h3"}  # end a line of the file
NONE = "—"
SMALL, LARGE = 5e-4, 1e7  # beyond these a number is written with an exponent


class Html(str):
    """Markup, in which nothing is left to escape."""

    __slots__ = ()


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """Return a table whose rows begin with what they are about; a wide one scrolls, by keyboard too."""
    head = element("tr", *(element("th", words, scope="col") for words in heads))
    body = [
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in cells))
        for first, *cells in rows
    ]
    parts = (element("caption", caption), element("thead", head), element("tbody", *body))
    return element("div", element("table", *parts), class_="scroll", role="region", aria_label=caption, tabindex="0")


def part(title: str, *children: str, identifier: str, class_: str = "") -> Html:
    """Return a section under a heading."""
    return element("section", element("h2", title), *children, id=identifier, class_=class_)


def lead(name: str, *children: str) -> Html:
    """Return what begins with a name in bold."""
    return element("span", element("strong", name), ": ", *children)


def bullets(*entries: str) -> Html:
    """Return a list; nothing of no entries."""
    return element("ul", *(element("li", entry) for entry in entries)) if entries else Html("")


def element(tag: str, /, *children: str, **attributes: str) -> Html:
    """Return an element; `class_` and `aria_label` become `class` and `aria-label`, an empty attribute nothing."""
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value)
    start = "".join(f' {key}="{html.escape(figures.printable(value))}"' for key, value in pairs)
    line = "\n" if tag in BLOCKS else ""
    if tag in VOID:
        return Html(f"<{tag}{start}>")
    return Html(f"<{tag}{start}>{''.join(_text(child) for child in children)}</{tag}>{line}")


def _text(child: str) -> str:
    return child if isinstance(child, Html) else html.escape(figures.printable(str(child)))


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
