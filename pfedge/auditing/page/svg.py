"""A drawing of matplotlib's as SVG that stands inside an HTML page.

Matplotlib writes a file of its own: with a header, a style sheet, namespaces, and groups named alike in every file. An
HTML page wants none of these, and names that are unique within it; `to_svg` takes them out of the parsed tree. The same
drawing gives the same bytes.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from pfedge.auditing.page.numbers import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RC_PARAMS: dict[Any, Any] = {  # any keys: newer versions of matplotlib type them, older ones do not
    "axes.axisbelow": True,
    "axes.edgecolor": "#888888",
    "axes.labelsize": "medium",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "font.family": ["DejaVu Sans"],  # to measure with: what is drawn is in the page's own, see style.css
    "font.size": 9,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a name is one
}
NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Plot:
    """A plot: its markup, and what it shows in words."""

    svg: str
    caption: str


def draw_plot(
    draw: Callable[[Figure], None], size: tuple[float, float], kind: str, caption: str, identifier: str
) -> Plot:
    """Return what `draw` draws.

    Args:
        draw: draws on an empty figure.
        size: width and height, inches.
        kind: of plot, for those who do not see it.
        caption: what it shows.
        identifier: new within the page; the names that the plot refers to follow from it.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    stream = io.StringIO()
    with mpl.rc_context({**RC_PARAMS, "svg.hashsalt": identifier}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the reader's fonts draw it, not matplotlib's
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(stream, format="svg", metadata=NO_METADATA, transparent=True)
    return Plot(to_svg(stream.getvalue(), f"{kind}: {caption}"), caption)


def to_svg(drawn: str, title: str) -> str:
    """Return an SVG file as an element of an HTML page, with a title for those who do not see it."""
    root = ET.fromstring(drawn)  # noqa: S314 -- matplotlib wrote it just now
    page = ET.Element("svg", {"role": "img", "width": root.get("width", ""), "viewBox": root.get("viewBox", "")})
    ET.SubElement(page, "title").text = printable(title)
    for element in list(root.iter()):
        element.tag = _local(element.tag)
        element.attrib = {_local(name): value for name, value in element.attrib.items()}
        if element.tag == "g":
            element.attrib.pop("id", None)  # nothing refers to a group, and another plot has one of the same name
        for child in element.findall("./{*}style"):  # a rule for all of the page: style.css has it
            element.remove(child)
        if element.tag != "text":
            element.text = None  # matplotlib's indentation
        element.tail = "\n"
    page.extend(root)
    return ET.tostring(page, encoding="unicode")


def short_label(name: str, width: int = 24) -> str:
    """Return a name in at most two lines of some width."""
    return textwrap.fill(printable(name), width, max_lines=2, placeholder="…")


def _local(name: str) -> str:
    """Return a name without its namespace: HTML knows by itself what belongs to an SVG.

    >>> _local("{http://www.w3.org/2000/svg}path")
    'path'
    """
    return name.rpartition("}")[2]
