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
