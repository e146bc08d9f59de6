from __future__ import annotations

import numpy as np
import onnx

from pfedge.exporting import ExportSettings, export_run
from pfedge_export.precision import Calibration
from pfedge_export.precision.smoothing import smooth
from pfedge_runtime.engines import OnnxRuntimeEngine


def test_smoothing_computes_the_same_with_fewer_outliers(tiny_run, validation, tmp_path):
    bundle, _ = export_run(tiny_run, ExportSettings(out=tmp_path / "fp32"))
    graph, bank = onnx.load(bundle.graph_path), bundle.bank()
    weights = [onnx.numpy_helper.to_array(value) for value in graph.graph.initializer]
    smoothed = smooth(graph, Calibration(bank, *validation))
    assert all(
        np.array_equal(a, onnx.numpy_helper.to_array(b)) for a, b in zip(weights, graph.graph.initializer, strict=True)
    )
    onnx.save(smoothed, tmp_path / "smooth.onnx")
    new = [value.name for value in smoothed.graph.initializer if ".smooth." in value.name]
    assert len(new) == 2 * (2 + 3 + 2 + 1)  # two blocks: LayerNorm, query, key and value; LayerNorm and the MLP's first
    before, after = (
        OnnxRuntimeEngine(path).run(validation[0], bank).logits
        for path in (bundle.graph_path, tmp_path / "smooth.onnx")
    )
    assert np.abs(before - after).max() < 1e-4
