"""The plots of an audit.

    plots = of_attack(attack.key, attack.data, identifier="attack-1")

Each model has its colour (Okabe and Ito's, which the colour-blind tell apart), line, marker and hatching. An identifier
must be new within the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pfedge.auditing.page.svg import Plot, draw_plot, short_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Entry = Mapping[str, Any]  # an object of an attack's `data`


@dataclass(frozen=True)
class ModelStyle:
    """How a model is drawn: by more than its colour."""

    colour: str
    line: str
    marker: str
    width: float
    hatch: str


STYLES = {  # the last, thin and dashed, leaves visible what it covers
    "before": ModelStyle("#d55e00", ":", "^", 1.8, "////"),
    "after": ModelStyle("#0072b2", "-", "o", 2.6, ""),
    "reference": ModelStyle("#222222", "--", "s", 1.2, "\\\\\\\\"),
}
ANSWERS = 12  # that `landing` has room for
PANELS = 3  # beside each other
WIDTH = 7.4  # inches: the page's
LOWEST_RATE = 1e-3  # where the axes of Carlini et al. 2022 begin, less two decades for audits of hundreds of inputs
POINTS = 91  # of a straight line on logarithmic axes
TICKS = 6  # that fit under a panel


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
    largest = sorted(rows, key=lambda row: -max(row.get(model) or 0 for model in STYLES))[:ANSWERS]
    left = len(rows) - len(largest)
    rows = [row for row in rows if row in largest]
    thickness = 0.26

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (model, style) in enumerate(STYLES.items()):
            heights = [number + (place - 1) * thickness for number in range(len(rows))]
            shares = numbers(row.get(model) for row in rows)
            bars = axes.barh(
                heights,
                [0 if math.isnan(share) else share for share in shares],
                height=thickness,
                color=style.colour if not style.hatch else "white",
                edgecolor=style.colour,
                hatch=style.hatch,
                label=model,
            )
            labels = ["not measured" if math.isnan(share) else f"{share:.2f}" for share in shares]
            axes.bar_label(bars, labels, padding=3, fontsize="small")
        axes.set_yticks(range(len(rows)), [short_label(str(row["name"])) for row in rows])
        axes.set(xlim=(0, 1.08), xlabel="share of the forgotten class's test inputs")
        axes.invert_yaxis()
        axes.grid(visible=True, axis="x")
        legend(figure, axes)

    caption = "What the models answer for test inputs of the forgotten class."
    caption += f" Left out: {left} rarer answers." if left else ""
    return draw_plot(draw, (WIDTH, 1 + 0.55 * len(rows)), "Bar chart", caption, identifier)


def roc(curves: Mapping[str, Entry], *, identifier: str) -> Plot:
    """Draw ROC curves on logarithmic axes, a panel for each attack."""

    def draw(figure: Figure) -> None:
        for axes, (name, models) in zip(_panels(figure, len(curves)), curves.items(), strict=True):
            axes.plot([LOWEST_RATE, 1], [LOWEST_RATE, 1], color="#bbbbbb", linewidth=0.8)
            for model in STYLES:
                if models.get(model):
                    axes.plot(*_for_log_axes(models[model]), **_line(model))
            axes.set(
                xscale="log", yscale="log", xlim=(LOWEST_RATE, 1), ylim=(LOWEST_RATE, 1.1), title=short_label(name)
            )
            axes.minorticks_off()
            ticks = [10.0**power for power in range(-3, 1)]
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.set(xlabel="false positive rate", ylabel="true positive rate")
            axes.grid(visible=True)
        legend(figure, *figure.axes)

    caption = (
        "What share an attack finds of what it looks for (true positives) at which share of false alarms (false "
        "positives), on logarithmic axes; the grey line is guessing. What counts is whether after lies on reference."
    )
    return draw_plot(draw, _panel_size(len(curves)), "ROC curves", caption, identifier)


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


def _lines(panels: Mapping[str, tuple[Sequence[float], Entry]], x: str, y: str, caption: str, identifier: str) -> Plot:
    """Draw lines of the three models, a panel for each entry: places on a symmetric logarithmic axis, and values."""
    values = [
        number
        for _, entry in panels.values()
        for model in STYLES
        for number in numbers(entry.get(model) or ())
        if math.isfinite(number)
    ]
    limits = (min(0.0, *values, 0.0) - 0.03, max(1.0, *values, 1.0) + 0.03)

    def draw(figure: Figure) -> None:
        for axes, (name, (places, entry)) in zip(_panels(figure, len(panels)), panels.items(), strict=True):
            for model, style in STYLES.items():
                if entry.get(model):
                    axes.plot(places, numbers(entry[model]), **_line(model), marker=style.marker, markersize=4)
            axes.set_xscale("symlog", linthresh=1)
            axes.minorticks_off()
            decades = [0, *(10**power for power in range(9) if 10**power <= max(places, default=1))]
            ticks = sorted(set(places)) if len(set(places)) <= TICKS else decades
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.set(ylim=limits, title=short_label(name), xlabel=x, ylabel=y)
            axes.grid(visible=True)
        legend(figure, *figure.axes)

    return draw_plot(draw, _panel_size(len(panels)), "Line charts", caption, identifier)


def _line(model: str) -> dict[str, Any]:
    style = STYLES[model]
    return {"color": style.colour, "linestyle": style.line, "linewidth": style.width, "label": model}


def _for_log_axes(curve: Entry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return rates with points between the corners, since a straight line is none on logarithmic axes."""
    false, true = (np.array(numbers(curve[key])) for key in ("fpr", "tpr"))
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


def legend(figure: Figure, *panels: Axes) -> None:
    """Draw one legend above all panels, the three models first."""
    found = (pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True))
    handles = {label: handle for handle, label in found}
    labels = [*(model for model in STYLES if model in handles), *(label for label in handles if label not in STYLES)]
    figure.legend([handles[label] for label in labels], labels, loc="outside upper left", ncols=3, handlelength=3)


def numbers(values: Iterable[float | None]) -> list[float]:
    """Return numbers, nan for none."""
    return [math.nan if value is None else float(value) for value in values]
