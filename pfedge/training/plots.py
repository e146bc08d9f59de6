"""Plots of a run, as PNG files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pfedge.runs import EpochRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DIAGNOSTIC = {"match_only", "mixed_subset", "all_wrong", "wrong_subset", "random_wrong"}
HALF = 0.5
LABEL_LENGTH = 20


def plot_training(folder: Path, history: Sequence[EpochRecord]) -> None:
    """Write loss.png and accuracy.png, of at least one epoch."""
    figure = new_figure(6, 4)
    axes = figure.subplots()
    axes.plot([record.epoch for record in history], [record.loss for record in history], marker="o")
    axes.set(xlabel="epoch", ylabel="loss (CE + KL)", title="Training loss")
    save_figure(figure, folder / "loss.png")

    measured = [(record.epoch, record.accuracy) for record in history if record.accuracy is not None]
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    for mode in measured[0][1] if measured else ():
        axes.plot(
            [epoch for epoch, _ in measured],
            [accuracy[mode] for _, accuracy in measured],
            marker="o",
            linestyle="--" if mode in DIAGNOSTIC else "-",
            label=mode + (" (needs labels)" if mode in DIAGNOSTIC else ""),
        )
    axes.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02), title="Accuracy in each prompt mode")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    save_figure(figure, folder / "accuracy.png")


def plot_confusion(path: Path, matrix: np.ndarray[Any, Any], classes: Sequence[str]) -> None:
    """Write a confusion matrix `[true, predicted]`, shaded by row share, labelled by count."""
    figure = new_figure(1.6 + 0.55 * len(classes), 1.4 + 0.5 * len(classes))
    axes = figure.subplots()
    share = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            colour = "white" if share[row, column] > HALF else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize="small")
    names = [shorten(name, LABEL_LENGTH) for name in classes]
    axes.set_xticks(range(len(classes)), names, rotation=60, ha="right", fontsize="small")
    axes.set_yticks(range(len(classes)), names, fontsize="small")
    axes.set(xlabel="predicted", ylabel="true", title="Test images, full bank")
    save_figure(figure, path)


def shorten(text: str, length: int) -> str:
    """Return `text` in at most `length` characters.

    >>> shorten("neutrophil", 20), shorten("immature granulocytes (myelocytes)", 20)
    ('neutrophil', 'immature granulocyt…')
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, `width` by `height` inches; it belongs to no window and is freed with its last name."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, without empty margins."""
    figure.savefig(path, dpi=120, bbox_inches="tight")
