"""The plot of other ways to forget: what each costs, and what it leaves to find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pfedge.auditing.page.charts import STYLES, WIDTH, legend
from pfedge.auditing.page.svg import Plot, draw_plot, short_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pfedge.auditing.report import ComparedMethod


def tradeoff(methods: Sequence[ComparedMethod], measure: str, *, identifier: str) -> Plot | None:
    """Draw a measure of each method against its seconds, names in a column beside; None where no method has both."""
    drawn = [method for method in methods if (method.seconds or 0) > 0 and method.value(measure) is not None]
    left = [method.name for method in methods if method not in drawn]
    if not drawn:
        return None
    drawn.sort(key=lambda method: method.measures[measure].value)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _draw_points(axes, drawn, measure)
        _set_axes(axes, [method.seconds or 0 for method in drawn], short_label(measure, 60))
        _draw_names(axes, drawn, measure)
        for model, words in (("before", "needs data of the class"), ("after", "needs none of them")):
            style = STYLES[model]
            axes.plot([], [], color=style.colour, marker=style.marker, markersize=7, linestyle="", label=words)
        legend(figure, axes)

    caption = f"Each method's {measure}, with its 95 % interval, against the seconds it takes, on a logarithmic axis."
    caption += f" Not drawn, for want of a number: {', '.join(left)}." if left else ""
    return draw_plot(draw, (WIDTH, max(3.2, 1.2 + 0.34 * len(drawn))), "Scatter plot", caption, identifier)


def _draw_points(axes: Axes, methods: Sequence[ComparedMethod], measure: str) -> None:
    for method in methods:
        estimate = method.measures[measure]
        value = estimate.value
        error = None
        if math.isfinite(estimate.high - estimate.low):
            error = [[max(0, value - estimate.low)], [max(0, estimate.high - value)]]
        style = STYLES["before" if method.needs_class_data else "after"]
        axes.errorbar(
            method.seconds or 0, value, yerr=error, color=style.colour, marker=style.marker, markersize=7, capsize=3
        )


def _set_axes(axes: Axes, seconds: Sequence[float], measure: str) -> None:
    """Make the seconds' axis logarithmic, with a tick at each power of ten."""
    limits = min(seconds) / 2, max(seconds) * 2
    powers = range(math.floor(math.log10(limits[0])), math.ceil(math.log10(limits[1])) + 1)
    ticks = [10.0**power for power in powers]
    axes.set(xscale="log", xlim=limits, ylabel=measure, xlabel="seconds")
    axes.minorticks_off()
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlim(limits)  # ticks beyond them have moved them
    axes.grid(visible=True)


def _draw_names(axes: Axes, methods: Sequence[ComparedMethod], measure: str) -> None:
    """Write each name beside the axes, as near as may be to its point's height, and join the two."""
    bottom, top = axes.get_ylim()
    places = _spread([(method.measures[measure].value - bottom) / (top - bottom) for method in methods])
    for method, place in zip(methods, places, strict=True):
        axes.annotate(
            short_label(method.name, 34),
            (method.seconds or 0, method.measures[measure].value),
            (1.04, place),
            textcoords="axes fraction",
            verticalalignment="center",
            arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "shrinkB": 5},
        )


def _spread(places: Sequence[float]) -> list[float]:
    """Return ascending places moved apart by what a line of text needs, and within the axes where there is room."""
    gap = 1 / max(10, len(places))
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    return [min(place, 1 - gap * (len(moved) - 1 - number)) for number, place in enumerate(moved)]
