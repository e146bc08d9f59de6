"""Plots of an evaluation, as PNG files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pfedge.evaluation.every_subset import SubsetEvaluation
from pfedge.evaluation.forgetting import ForgettingAtK
from pfedge.training import new_figure, save_figure


def plot_forgetting(path: Path, results: Sequence[ForgettingAtK]) -> None:
    """Write retained and forgotten accuracy against the number of classes forgotten, with every subset as a dot."""
    figure = new_figure(7, 4.5)
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
    save_figure(figure, path)


def plot_every_subset(path: Path, outcome: SubsetEvaluation) -> None:
    """Write retained accuracy against the number of classes forgotten, with every subset as a dot."""
    figure = new_figure(7, 4.5)
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
    save_figure(figure, path)


def plot_bench(path: Path, report: dict[str, Any]) -> None:
    """Write latency (p50, with p95 above it) and throughput against the batch size, a line for each number of rows."""
    figure = new_figure(9, 4)
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
    save_figure(figure, path)
