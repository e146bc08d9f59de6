"""Plots of a run, as PNG files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pfedge.evaluation.every_subset import SubsetEvaluation
from pfedge.evaluation.forgetting import ForgettingAtK

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DIAGNOSTIC = {"match_only", "mixed_subset", "all_wrong", "wrong_subset", "random_wrong"}
HALF = 0.5
LABEL_LENGTH = 20


def training(folder: Path, metrics: dict[str, Any], classes: Sequence[str]) -> None:
    """Write loss.png, accuracy.png and confusion.png."""
    history = metrics["history"]
    epochs = [record["epoch"] for record in history]
    figure = _figure(6, 4)
    axes = figure.subplots()
    axes.plot(epochs, [record["loss"] for record in history], marker="o")
    axes.set(xlabel="epoch", ylabel="loss (CE + KL)", title="Training loss")
    _save(figure, folder / "loss.png")

    looks = [record for record in history if "accuracy" in record]
    figure = _figure(8, 4.5)
    axes = figure.subplots()
    for mode in looks[0]["accuracy"] if looks else ():
        axes.plot(
            [record["epoch"] for record in looks],
            [record["accuracy"][mode] for record in looks],
            marker="o",
            linestyle="--" if mode in DIAGNOSTIC else "-",
            label=mode + (" (needs labels)" if mode in DIAGNOSTIC else ""),
        )
    axes.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02), title="Accuracy in each prompt mode")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    _save(figure, folder / "accuracy.png")
    confusion(folder / "confusion.png", np.array(metrics["confusion"]), classes)


def bench(path: Path, report: dict[str, Any]) -> None:
    """Write latency (p50, with p95 above it) and throughput against the batch size, a line for each number of rows."""
    figure = _figure(9, 4)
    left, right = figure.subplots(1, 2)
    for rows in sorted({one["rows"] for one in report["latency"]}):
        of_rows = [one for one in report["latency"] if one["rows"] == rows]
        batches = [one["batch"] for one in of_rows]
        above = [one["p95"] - one["p50"] for one in of_rows]
        label = f"{rows} rows" if rows > 1 else "1 row"
        none = [0.0] * len(above)
        left.errorbar(batches, [one["p50"] for one in of_rows], yerr=[none, above], marker="o", capsize=3, label=label)
        right.plot(batches, [one["throughput"] for one in of_rows], marker="o", label=label)
    left.set(xlabel="inputs a call", ylabel="milliseconds a call (p50, p95)", ylim=(0, None), title="Latency")
    right.set(xlabel="inputs a call", ylabel="inputs a second", ylim=(0, None), title="Throughput")
    left.legend(fontsize="small")
    figure.suptitle(f"{report['precision']} on {report['device']}, {report['machine']['processor']}", fontsize="small")
    _save(figure, path)


def confusion(path: Path, matrix: np.ndarray[Any, Any], classes: Sequence[str]) -> None:
    """Write a confusion matrix `[true, predicted]`, shaded by row share, labelled by count."""
    figure = _figure(1.6 + 0.55 * len(classes), 1.4 + 0.5 * len(classes))
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
    _save(figure, path)


def forgetting(path: Path, results: Sequence[ForgettingAtK]) -> None:
    """Write retained and forgotten accuracy against the number of classes forgotten, with every subset as a dot."""
    figure = _figure(7, 4.5)
    axes = figure.subplots()
    series = {
        "retained, row dropped": ("retain_row", "tab:green"),
        "retained, prompt dropped only": ("retain_prompt", "tab:blue"),
        "forgotten, prompt dropped only": ("forget_prompt", "tab:red"),
    }
    sizes = [result.k for result in results]
    for label, (field, colour) in series.items():
        values = [[getattr(subset, field) for subset in result.subsets] for result in results]
        axes.plot(sizes, [float(np.mean(value)) for value in values], marker="o", color=colour, label=label)
        for size, value in zip(sizes, values, strict=True):
            axes.scatter([size] * len(value), value, s=8, alpha=0.35, color=colour)
    axes.set(
        xlabel="classes forgotten (k)",
        ylabel="accuracy",
        ylim=(-0.02, 1.02),
        title="Forgetting every subset of k classes",
    )
    axes.legend(fontsize="small")
    _save(figure, path)


def every_subset(path: Path, outcome: SubsetEvaluation) -> None:
    """Write retained accuracy against the number of classes forgotten, with every subset as a dot."""
    figure = _figure(7, 4.5)
    axes = figure.subplots()
    sizes = [0, *outcome.subsets]
    values = [[outcome.accuracy], *([one.retained for one in found] for found in outcome.subsets.values())]
    axes.plot(sizes, [float(np.mean(value)) for value in values], marker="o", color="tab:green", label="mean")
    axes.plot(sizes, [min(value) for value in values], linestyle=":", color="tab:green", label="worst subset")
    for size, value in zip(sizes, values, strict=True):
        axes.scatter([size] * len(value), value, s=8, alpha=0.35, color="tab:green")
    axes.set(
        xlabel="classes forgotten (k)",
        ylabel="accuracy on the others",
        ylim=(min(0.5, *(min(value) for value in values)) - 0.02, 1.02),
        title="Forgetting every subset of k classes",
    )
    axes.legend(fontsize="small")
    _save(figure, path)


def shorten(text: str, length: int) -> str:
    """Return `text` in at most `length` characters.

    >>> shorten("neutrophil", 20), shorten("immature granulocytes (myelocytes)", 20)
    ('neutrophil', 'immature granulocyt…')
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=120, bbox_inches="tight")
