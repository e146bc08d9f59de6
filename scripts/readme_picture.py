"""Draw the picture of README.md and docs/index.md: an image, the frozen graph, the bank, the answer; a row leaves.

    python scripts/readme_picture.py        # writes docs/pfedge-light.svg and docs/pfedge-dark.svg

A page shows the one that fits the reader's theme. The same script makes the same bytes anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
WIDTH, HEIGHT = 800, 300
ROWS = ("0", "1", "2", "3", "4")
FORGOTTEN = "3"
ROW_STEP = 30  # pixels from the top of one row to the top of the next
# a handwritten 3 of 8 x 8 pixels, the darker the higher
IMAGE = ("00367300", "07986970", "00000960", "00079600", "00068970", "00000096", "07400594", "00799730")
SCORES = (0.12, 0.28, 0.22, 0.95, 0.16)  # of each row, before it is forgotten


@dataclass(frozen=True)
class Theme:
    """Colours of one version of the picture; its background is the page's own."""

    name: str
    ink: str
    faint: str
    fill: str
    row: str
    gone: str


LIGHT = Theme("light", ink="#1f2328", faint="#656d76", fill="#eef1f4", row="#0969da", gone="#cf222e")
DARK = Theme("dark", ink="#e6edf3", faint="#8d96a0", fill="#21262d", row="#58a6ff", gone="#ff7b72")


def draw(theme: Theme) -> str:
    """Return the picture as SVG."""
    about = "An image and the bank of rows go into the frozen graph; a row leaves, and with it its answer"
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    font = 'font-family="system-ui, sans-serif" font-size="14"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" {font}>',
        f"<title>{about}</title>",
        *_image(theme),
        *_arrow(theme, (128, 96), (196, 96)),
        *_graph(theme),
        *_arrow(theme, (372, 96), (440, 96)),
        *_answer(theme),
        *_bank(theme),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _image(theme: Theme) -> list[str]:
    side = 12
    parts = [_text(theme.ink, 72, 34, "image", anchor="middle")]
    for y, line in enumerate(IMAGE):
        for x, shade in enumerate(line):
            style = f'fill="{theme.ink}" fill-opacity="{int(shade) / 10:g}"'
            parts.append(_rect(24 + side * x, 48 + side * y, side, side, style))
    return [*parts, _rect(24, 48, 8 * side, 8 * side, f'fill="none" stroke="{theme.faint}"')]


def _graph(theme: Theme) -> list[str]:
    return [
        _text(theme.ink, 284, 34, "frozen graph", anchor="middle"),
        _rect(204, 48, 160, 96, f'rx="8" fill="{theme.fill}" stroke="{theme.ink}"'),
        _text(theme.ink, 284, 92, "graph.onnx", anchor="middle"),
        _text(theme.faint, 284, 114, "exported once", anchor="middle"),
    ]


def _bank(theme: Theme) -> list[str]:
    """Draw the rows below the graph, side by side; the forgotten one has slid out downwards."""
    parts = [
        _text(theme.ink, 190, 235, "bank", anchor="end"),
        _rect(204, 208, 160, 44, f'rx="8" fill="none" stroke="{theme.ink}"'),
        *_arrow(theme, (284, 202), (284, 152)),
        _text(theme.faint, 294, 182, "an input at run time"),
    ]
    for index, row in enumerate(ROWS):
        x, y, colour = 212 + ROW_STEP * index, 216, theme.row
        if row == FORGOTTEN:
            parts.append(_rect(x, y, 24, 28, f'rx="4" {_empty(theme)}'))
            y, colour = 262, theme.gone
            parts.append(_text(colour, x + 38, y + 19, f"pfedge forget --class {row}: its row leaves"))
        parts.append(_rect(x, y, 24, 28, f'rx="4" fill="{colour}" fill-opacity="0.25" stroke="{colour}"'))
        parts.append(_text(theme.ink, x + 12, y + 19, row, anchor="middle"))
    return parts


def _answer(theme: Theme) -> list[str]:
    parts = [_text(theme.ink, 448, 34, "answer: a score for each row")]
    for index, (row, score) in enumerate(zip(ROWS, SCORES, strict=True)):
        y, length = 48 + 20 * index, 200 * score
        parts.append(_text(theme.ink, 454, y + 13, row, anchor="middle"))
        if row == FORGOTTEN:
            parts.append(_rect(468, y + 1, length, 14, _empty(theme)))
            parts.append(_text(theme.gone, 476 + length, y + 13, "no longer there"))
        else:
            parts.append(_rect(468, y + 1, length, 14, f'fill="{theme.row}" fill-opacity="0.6"'))
    return parts


def _empty(theme: Theme) -> str:
    """Return the style of what a row left behind."""
    return f'fill="none" stroke="{theme.gone}" stroke-dasharray="3 3"'


def _rect(x: float, y: float, width: float, height: float, style: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" {style}/>'


def _arrow(theme: Theme, start: tuple[int, int], end: tuple[int, int]) -> list[str]:
    """Return a line and its head; `start` and `end` share x or y."""
    (x0, y0), (x1, y1) = start, end
    along = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    back = x1 - 8 * along[0], y1 - 8 * along[1]
    wings = [(back[0] + side * 4 * along[1], back[1] + side * 4 * along[0]) for side in (1, -1)]
    head = " ".join(f"{x},{y}" for x, y in [(x1, y1), *wings])
    return [
        f'<line x1="{x0}" y1="{y0}" x2="{back[0]}" y2="{back[1]}" stroke="{theme.ink}" stroke-width="1.5"/>',
        f'<polygon points="{head}" fill="{theme.ink}"/>',
    ]


def _text(colour: str, x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" fill="{colour}" text-anchor="{anchor}">{text}</text>'


def main() -> None:
    """Write both versions."""
    for theme in (LIGHT, DARK):
        (DOCS / f"pfedge-{theme.name}.svg").write_text(draw(theme), encoding="utf-8")


if __name__ == "__main__":
    main()
