"""Plots of a run, as PNG files beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pfedge.runs import EpochRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


STYLE = "pfedge.mplstyle"  # in the package
DIAGNOSTIC = {"match_only", "mixed_subset", "all_wrong", "wrong_subset", "random_wrong"}
HALF = 0.5
LABEL_LENGTH = 20


def plot_training(folder: Path, history: Sequence[EpochRecord]) -> None:
    """Write loss.png and accuracy.png, of at least one epoch."""
    with figure_at(folder / "loss.png", 6, 4, caption="Mean over the steps of an epoch.") as figure:
        axes = figure.subplots()
        axes.plot([record.epoch for record in history], [record.loss for record in history])
        axes.set(xlabel="epoch", ylabel="loss (CE + KL)", title="Training loss")
        count_in_integers(axes)

    measured = [(record.epoch, record.accuracy) for record in history if record.accuracy is not None]
    caption = "Modes that need labels are told the true class: diagnoses, not accuracies of a device."
    with figure_at(folder / "accuracy.png", 8, 4.5, caption=caption) as figure:
        axes = figure.subplots()
        for mode in measured[0][1] if measured else ():
            axes.plot(
                [epoch for epoch, _ in measured],
                [accuracy[mode] for _, accuracy in measured],
                label=mode + (" (needs labels)" if mode in DIAGNOSTIC else ""),
            )
        axes.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02), title="Accuracy in each prompt mode")
        count_in_integers(axes)
        if measured:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def plot_confusion(path: Path, matrix: np.ndarray[Any, Any], classes: Sequence[str]) -> None:
    """Write a confusion matrix `[true, predicted]`, shaded by row share, labelled by count."""
    width, height = 1.6 + 0.55 * len(classes), 1.4 + 0.5 * len(classes)
    caption = "Shade: share of the true class. Numbers: images."
    with figure_at(path, width, height, caption=caption) as figure:
        axes = figure.subplots()
        share = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
        axes.imshow(share, vmin=0, vmax=1)
        axes.grid(visible=False)
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                colour = "white" if share[row, column] > HALF else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize="small")
        names = [shorten(name, LABEL_LENGTH) for name in classes]
        axes.set_xticks(range(len(classes)), names, rotation=60, ha="right", fontsize="small")
        axes.set_yticks(range(len(classes)), names, fontsize="small")
        axes.set(xlabel="predicted", ylabel="true", title="Test images, full bank")


def shorten(text: str, length: int) -> str:
    """Return `text` in at most `length` characters.

    >>> shorten("neutrophil", 20), shorten("immature granulocytes (myelocytes)", 20)
    ('neutrophil', 'immature granulocyt…')
    """
    return text if len(text) <= length else text[: length - 1] + "…"


@contextmanager
def figure_at(path: Path, width: float, height: float, *, caption: str) -> Iterator[Figure]:
    """Give an empty figure, `width` by `height` inches, in pfedge's style; write it as a PNG when it is left.

    The figure belongs to no window and is freed with its last name. The caption stands below it, on the left.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    with as_file(files("pfedge") / STYLE) as sheet, style.context(sheet):
        figure = Figure(figsize=(width, height))
        yield figure
        figure.supxlabel(caption, x=0.01, ha="left", fontsize="small", color="0.3", wrap=True)
        figure.savefig(path)


def count_in_integers(axes: Axes) -> None:
    """Have the horizontal axis, which counts something, marked at integers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
