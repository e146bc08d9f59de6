"""Plots of an evaluation, as PNG files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pfedge.evaluation.every_subset import SubsetEvaluation
from pfedge.evaluation.forgetting import ForgettingAtK
from pfedge.training import count_in_integers, figure_at

DOTS: dict[str, Any] = {"s": 8, "alpha": 0.35}
EACH_SUBSET = "Lines: mean over the subsets of k classes. Dots: each subset."


def plot_forgetting(path: Path, results: Sequence[ForgettingAtK]) -> None:
    """Write retained and forgotten accuracy against the number of classes forgotten, with every subset as a dot."""
    series = {
        "retained, row dropped": "retain_row",
        "retained, prompt dropped only": "retain_prompt",
        "forgotten, prompt dropped only": "forget_prompt",
    }
    sizes = [result.k for result in results]
    with figure_at(path, 7, 4.5, caption=EACH_SUBSET) as figure:
        axes = figure.subplots()
        for label, field in series.items():
            values = [[getattr(subset, field) for subset in result.subsets] for result in results]
            (line,) = axes.plot(sizes, [float(np.mean(value)) for value in values], label=label)
            for size, value in zip(sizes, values, strict=True):
                axes.scatter([size] * len(value), value, color=line.get_color(), marker=line.get_marker(), **DOTS)
        axes.set(
            xlabel="classes forgotten (k)",
            ylabel="accuracy",
            ylim=(-0.02, 1.02),
            title="Forgetting every subset of k classes",
        )
        count_in_integers(axes)
        axes.legend()


def plot_every_subset(path: Path, outcome: SubsetEvaluation) -> None:
    """Write retained accuracy against the number of classes forgotten, with every subset as a dot."""
    sizes = [0, *outcome.subsets]
    values = [[outcome.accuracy], *([one.retained for one in found] for found in outcome.subsets.values())]
    with figure_at(path, 7, 4.5, caption=EACH_SUBSET) as figure:
        axes = figure.subplots()
        (line,) = axes.plot(sizes, [float(np.mean(value)) for value in values], label="mean")
        axes.plot(sizes, [min(value) for value in values], label="worst subset")
        for size, value in zip(sizes, values, strict=True):
            axes.scatter([size] * len(value), value, color=line.get_color(), marker=line.get_marker(), **DOTS)
        axes.set(
            xlabel="classes forgotten (k)",
            ylabel="accuracy on the others",
            ylim=(min(0.5, *(min(value) for value in values)) - 0.02, 1.02),
            title="Forgetting every subset of k classes",
        )
        count_in_integers(axes)
        axes.legend()


def plot_bench(path: Path, report: dict[str, Any]) -> None:
    """Write latency (p50, with p95 above it) and throughput against the batch size, a line for each number of rows."""
    caption = f"{report['precision']} on {report['device']}, {report['machine']['processor']}. Bars reach to p95."
    with figure_at(path, 9, 4, caption=caption) as figure:
        left, right = figure.subplots(1, 2)
        for rows in sorted({one["rows"] for one in report["latency"]}):
            of_rows = [one for one in report["latency"] if one["rows"] == rows]
            batches, medians = [one["batch"] for one in of_rows], [one["p50"] for one in of_rows]
            above = [one["p95"] - one["p50"] for one in of_rows]
            label = f"{rows} rows" if rows > 1 else "1 row"
            left.errorbar(batches, medians, yerr=[[0.0] * len(above), above], capsize=3, label=label)
            right.plot(batches, [one["throughput"] for one in of_rows], label=label)
        left.set(xlabel="inputs a call", ylabel="milliseconds a call (p50, p95)", ylim=(0, None), title="Latency")
        right.set(xlabel="inputs a call", ylabel="inputs a second", ylim=(0, None), title="Throughput")
        for axes in (left, right):
            count_in_integers(axes)
        left.legend()
