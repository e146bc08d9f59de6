from __future__ import annotations

import doctest

import numpy as np
from PIL import Image

from pfedge.training import plots


def test_docstring_examples():
    assert doctest.testmod(plots).failed == 0


def test_long_class_names_do_not_squeeze_the_confusion_matrix(tmp_path):
    """The matrix fills most of the picture's width, whatever the classes are called."""
    matrix = np.eye(8, dtype=np.int64) * 50
    plots.plot_confusion(tmp_path / "a.png", matrix, ["x" * 90] * 8)
    dark = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    cells = (dark == np.array([8, 48, 107])).all(axis=2)  # the colour map's darkest blue: the diagonal
    columns = np.flatnonzero(cells.any(axis=0))
    assert columns[-1] - columns[0] > 0.4 * dark.shape[1]


def test_every_subset_is_a_dot(tmp_path):
    from pfedge.evaluation.forgetting import ForgettingAtK, Subset
    from pfedge.evaluation.plots import plot_forgetting

    results = [ForgettingAtK(k, 2, tuple(Subset((i,), 0.1 * i, 0.9, 0.95, 0.1) for i in range(2))) for k in (1, 3)]
    plot_forgetting(tmp_path / "f.png", results)
    assert Image.open(tmp_path / "f.png").size[0] > 300


def test_epochs_are_integers_and_every_line_is_told_apart_without_colour(tmp_path):
    with plots.figure_at(tmp_path / "a.png", 6, 4, caption="What this is.") as figure:
        axes = figure.subplots()
        lines = [axes.plot([1, 2], [0, height])[0] for height in range(7)]
        plots.count_in_integers(axes)
        ticks = axes.get_xticks()
    assert {tick % 1 for tick in ticks} == {0.0}
    assert len({line.get_marker() for line in lines}) == len({line.get_color() for line in lines}) == 7
    assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == 7
    assert figure.get_supxlabel() == "What this is."
    assert Image.open(tmp_path / "a.png").size[0] > 300


def test_the_style_is_that_of_figures_only(tmp_path):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    with plots.figure_at(tmp_path / "a.png", 2, 2, caption=""):
        assert mpl.rcParams["axes.grid"]
    assert dict(mpl.rcParams) == before


def test_a_run_and_a_bench_are_drawn(tmp_path):
    from pfedge.evaluation.plots import plot_bench
    from pfedge.runs.metrics import EpochRecord

    plots.plot_training(tmp_path, [EpochRecord(n, 1 / n, 1.0, {"full_bank": 0.9, "all_wrong": 0.1}) for n in (1, 2)])
    latency = [
        {"rows": rows, "batch": batch, "p50": 1.0, "p95": 2.0, "throughput": 9.0} for rows in (1, 8) for batch in (1, 8)
    ]
    plot_bench(
        tmp_path / "bench.png",
        {"latency": latency, "precision": "fp32", "device": "cpu", "machine": {"processor": "one"}},
    )
    assert {path.name for path in tmp_path.iterdir()} == {"loss.png", "accuracy.png", "bench.png"}
