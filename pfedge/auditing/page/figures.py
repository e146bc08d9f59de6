"""Plots of an audit, as SVG that stands inside an HTML page.

    plots = of_attack(attack.key, attack.data, identifier="attack-1")

Each model has its colour (Okabe and Ito's, which the colour-blind tell apart), line, marker and hatching. The same data
give the same bytes. An identifier must be new within the page: names that a plot refers to follow from it.
"""

from __future__ import annotations

import html
import io
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Entry = Mapping[str, Any]  # an object of the report's JSON


@dataclass(frozen=True)
class Plot:
    """A plot: its markup, and what it shows in words."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Look:
    """How a model is drawn."""

    colour: str
    line: str
    marker: str
    width: float
    hatch: str


LOOKS = {  # the last, thin and dashed, leaves visible what it covers
    "before": Look("#d55e00", ":", "^", 1.8, "////"),
    "after": Look("#0072b2", "-", "o", 2.6, ""),
    "reference": Look("#222222", "--", "s", 1.2, "\\\\\\\\"),
}
ANSWERS = 12  # that `landing` has room for
PANELS = 3  # beside each other
WIDTH = 7.4  # inches: the page's
LOWEST_RATE = 1e-3  # where the axes of Carlini et al. 2022 begin, less two decades for audits of hundreds of inputs
POINTS = 91  # of a straight line on logarithmic axes
TICKS = 6  # that fit under a panel
STYLE: dict[Any, Any] = {  # any keys: newer versions of matplotlib type them, older ones do not
    "axes.axisbelow": True,
    "axes.edgecolor": "#888888",
    "axes.labelsize": "medium",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "font.size": 9,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a name is one
}


def printable(text: str) -> str:
    """Return `text` without what would hide or turn other text: control characters, half characters.

    >>> printable("ig" + chr(0x202e) + "x"), printable("two" + chr(10) + "lines")
    ('ig�x', 'two lines')
    """
    return "".join(char if char.isprintable() else " " if char.isspace() else "�" for char in text)


def of_attack(key: str, data: Mapping[str, Any], *, identifier: str) -> list[Plot]:
    """Return the plots that the data of an attack allow."""
    drawers: dict[tuple[str, str], Callable[..., Plot]] = {
        ("utility", "landing"): landing,
        ("membership", "roc"): roc,
        ("neighbour", "roc"): roc,
        ("representation", "recovery"): recovery,
        ("relearning", "curves"): relearning,
    }
    return [
        drawer(data[name], identifier=f"{identifier}-{name}")
        for (attack, name), drawer in drawers.items()
        if attack == key and data.get(name)
    ]


def landing(rows: Sequence[Entry], *, identifier: str) -> Plot:
    """Draw what the models answer for the forgotten class's test inputs, a group of bars for each answer."""
    largest = sorted(rows, key=lambda row: -max(row.get(model) or 0 for model in LOOKS))[:ANSWERS]
    left = len(rows) - len(largest)
    rows = [row for row in rows if row in largest]
    thickness = 0.26

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (model, look) in enumerate(LOOKS.items()):
            heights = [number + (place - 1) * thickness for number in range(len(rows))]
            shares = _numbers(row.get(model) for row in rows)
            bars = axes.barh(
                heights,
                [0 if math.isnan(share) else share for share in shares],
                height=thickness,
                color=look.colour if not look.hatch else "white",
                edgecolor=look.colour,
                hatch=look.hatch,
                label=model,
            )
            labels = ["not measured" if math.isnan(share) else f"{share:.2f}" for share in shares]
            axes.bar_label(bars, labels, padding=3, fontsize="small")
        axes.set_yticks(range(len(rows)), [_label(str(row["name"])) for row in rows])
        axes.set(xlim=(0, 1.08), xlabel="share of the forgotten class's test inputs")
        axes.invert_yaxis()
        axes.grid(visible=True, axis="x")
        _legend(figure, axes)

    caption = "What the models answer for test inputs of the forgotten class."
    caption += f" Left out: {left} rarer answers." if left else ""
    return _plot(draw, (WIDTH, 1 + 0.55 * len(rows)), "Bar chart", caption, identifier)


def roc(curves: Mapping[str, Entry], *, identifier: str) -> Plot:
    """Draw ROC curves on logarithmic axes, a panel for each attack."""

    def draw(figure: Figure) -> None:
        for axes, (name, models) in zip(_panels(figure, len(curves)), curves.items(), strict=True):
            axes.plot([LOWEST_RATE, 1], [LOWEST_RATE, 1], color="#bbbbbb", linewidth=0.8)
            for model in LOOKS:
                if models.get(model):
                    axes.plot(*_for_log_axes(models[model]), **_line(model))
            axes.set(xscale="log", yscale="log", xlim=(LOWEST_RATE, 1), ylim=(LOWEST_RATE, 1.1), title=_label(name))
            axes.minorticks_off()
            ticks = [10.0**power for power in range(-3, 1)]
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.set(xlabel="false positive rate", ylabel="true positive rate")
            axes.grid(visible=True)
        _legend(figure, *figure.axes)

    caption = (
        "What share an attack finds of what it looks for (true positives) at which share of false alarms (false "
        "positives), on logarithmic axes; the grey line is guessing. What counts is whether after lies on reference."
    )
    return _plot(draw, _panel_size(len(curves)), "ROC curves", caption, identifier)


def recovery(representations: Mapping[str, Entry], *, identifier: str) -> Plot:
    """Draw how well a probe recovers the class, against its examples of each class; a panel a representation."""
    panels = {name: (entry["shots"], entry) for name, entry in representations.items()}
    caption = (
        "How well a simple classifier on what the models compute recovers the class, by the number of examples it is "
        "given. What counts is whether after lies on reference."
    )
    return _lines(panels, "examples", "recovery", caption, identifier)


def relearning(curves: Sequence[Entry], *, identifier: str) -> Plot:
    """Draw balanced accuracy against the steps of relearning; a panel for each number of examples."""
    panels = {f"{entry['shots']} examples": (entry["steps"], entry) for entry in curves}
    caption = (
        "How fast the class is learnt again from a few examples. A model that learns it faster than reference does "
        "has kept something of it."
    )
    return _lines(panels, "steps", "balanced accuracy", caption, identifier)


def tradeoff(methods: Sequence[Entry], measure: str, *, identifier: str) -> Plot | None:
    """Draw a measure of each method against its seconds, names in a column beside; None where no method has both."""
    rows = [row for row in methods if (row.get("seconds") or 0) > 0 and _value(row, measure) is not None]
    left = [str(row["name"]) for row in methods if row not in rows]
    if not rows:
        return None
    rows.sort(key=lambda row: float(_value(row, measure) or 0))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        seconds = [row["seconds"] for row in rows]
        for row in rows:
            entry = row["measures"][measure]
            value, low, high = _numbers(entry.get(key) for key in ("value", "low", "high"))
            error = [[max(0, value - low)], [max(0, high - value)]] if math.isfinite(high - low) else None
            look = LOOKS["before" if row.get("needs_class_data") else "after"]
            axes.errorbar(
                row["seconds"], value, yerr=error, color=look.colour, marker=look.marker, markersize=7, capsize=3
            )
        axes.set(xscale="log", xlim=(min(seconds) / 2, max(seconds) * 2), ylabel=_label(measure, 60), xlabel="seconds")
        powers = range(math.floor(math.log10(min(seconds) / 2)), math.ceil(math.log10(max(seconds) * 2)) + 1)
        axes.minorticks_off()
        axes.set_xticks([10.0**power for power in powers], [f"{10.0**power:g}" for power in powers])
        axes.set_xlim(min(seconds) / 2, max(seconds) * 2)
        axes.grid(visible=True)
        bottom, top = axes.get_ylim()
        places = _spread([(float(_value(row, measure) or 0) - bottom) / (top - bottom) for row in rows])
        for row, place in zip(rows, places, strict=True):
            axes.annotate(
                _label(str(row["name"]), 34),
                (row["seconds"], _value(row, measure)),
                (1.04, place),
                textcoords="axes fraction",
                verticalalignment="center",
                arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "shrinkB": 5},
            )
        for model, words in (("before", "needs data of the class"), ("after", "needs none of them")):
            look = LOOKS[model]
            axes.plot([], [], color=look.colour, marker=look.marker, markersize=7, linestyle="", label=words)
        _legend(figure, axes)

    caption = f"Each method's {measure}, with its 95 % interval, against the seconds it takes, on a logarithmic axis."
    caption += f" Not drawn, for want of a number: {', '.join(left)}." if left else ""
    return _plot(draw, (WIDTH, max(3.2, 1.2 + 0.34 * len(rows))), "Scatter plot", caption, identifier)


def _lines(panels: Mapping[str, tuple[Sequence[float], Entry]], x: str, y: str, caption: str, identifier: str) -> Plot:
    """Draw lines of the three models, a panel for each entry: places on a symmetric logarithmic axis, and values."""
    values = [
        number
        for _, entry in panels.values()
        for model in LOOKS
        for number in _numbers(entry.get(model) or ())
        if math.isfinite(number)
    ]
    limits = (min(0.0, *values, 0.0) - 0.03, max(1.0, *values, 1.0) + 0.03)

    def draw(figure: Figure) -> None:
        for axes, (name, (places, entry)) in zip(_panels(figure, len(panels)), panels.items(), strict=True):
            for model, look in LOOKS.items():
                if entry.get(model):
                    axes.plot(places, _numbers(entry[model]), **_line(model), marker=look.marker, markersize=4)
            axes.set_xscale("symlog", linthresh=1)
            axes.minorticks_off()
            decades = [0, *(10**power for power in range(9) if 10**power <= max(places, default=1))]
            ticks = sorted(set(places)) if len(set(places)) <= TICKS else decades
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.set(ylim=limits, title=_label(name), xlabel=x, ylabel=y)
            axes.grid(visible=True)
        _legend(figure, *figure.axes)

    return _plot(draw, _panel_size(len(panels)), "Line charts", caption, identifier)


def _line(model: str) -> dict[str, Any]:
    look = LOOKS[model]
    return {"color": look.colour, "linestyle": look.line, "linewidth": look.width, "label": model}


def _for_log_axes(curve: Entry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rates with points between the corners, since a straight line is none on logarithmic axes."""
    false, true = (np.array(_numbers(curve[key])) for key in ("fpr", "tpr"))
    if not len(false):
        return false, true
    between = np.setdiff1d(np.geomspace(LOWEST_RATE, 1, POINTS), false)
    order = np.argsort(np.concatenate([false, between]), kind="stable")
    rates = (np.concatenate([false, between])[order], np.concatenate([true, np.interp(between, false, true)])[order])
    return np.maximum(rates[0], LOWEST_RATE / 10), np.maximum(rates[1], LOWEST_RATE / 10)


def _panels(figure: Figure, count: int) -> list[Axes]:
    columns = min(count, PANELS)
    grid = figure.subplots(math.ceil(count / columns), columns, squeeze=False).flat
    for axes in grid[count:]:
        axes.remove()
    return list(grid[:count])


def _panel_size(count: int) -> tuple[float, float]:
    return WIDTH * max(min(count, PANELS), 1.5) / PANELS, 0.4 + 2.6 * math.ceil(count / PANELS)


def _legend(figure: Figure, *panels: Axes) -> None:
    found = (pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True))
    handles = {label: handle for handle, label in found}
    labels = [*(model for model in LOOKS if model in handles), *(label for label in handles if label not in LOOKS)]
    figure.legend([handles[label] for label in labels], labels, loc="outside upper left", ncols=3, handlelength=3)


def _spread(places: Sequence[float]) -> list[float]:
    """Return ascending places moved apart by what a line of text needs, and within the axes where there is room."""
    gap = 1 / max(10, len(places))
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    return [min(place, 1 - gap * (len(moved) - 1 - number)) for number, place in enumerate(moved)]


def _plot(draw: Callable[[Figure], None], size: tuple[float, float], kind: str, caption: str, identifier: str) -> Plot:
    """Return what `draw` draws, without what an HTML page does not need or has once for all plots."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    stream = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": identifier}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the reader's fonts draw it, not matplotlib's
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(stream, format="svg", metadata={"Date": None}, transparent=True)
    _, _, body = stream.getvalue().partition("<svg ")
    body = body.partition(">")[2]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<[^>]*>", lambda tag: _lighter(tag[0]), body)  # what people wrote stands outside of tags
    body = re.sub(r"\n\s+", "\n", body)
    width, height = (72 * inches for inches in size)
    head = f'<svg role="img" width="{width:.0f}pt" viewBox="0 0 {width:g} {height:g}">'
    title = html.escape(printable(f"{kind}: {caption}"))
    return Plot(f"{head}<title>{title}</title>{body.strip()}", caption)


def _lighter(tag: str) -> str:
    """Return a tag without names that nothing refers to, hundredths of points, and the font, which is the page's."""
    tag = re.sub(r'^<g id="[^"]*"', "<g", tag)
    tag = re.sub(r" font-family: [^;\"]*;?", "", tag).replace("xlink:href", "href")
    return re.sub(r"(\d\.\d\d)\d+", r"\1", tag)


def _label(name: str, width: int = 24) -> str:
    return textwrap.fill(printable(name), width, max_lines=2, placeholder="…")


def _value(row: Entry, measure: str) -> float | None:
    value: float | None = ((row.get("measures") or {}).get(measure) or {}).get("value")
    return value


def _numbers(values: Iterable[float | None]) -> list[float]:
    return [math.nan if value is None else float(value) for value in values]
