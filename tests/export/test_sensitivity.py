from __future__ import annotations

import onnx

from pfedge.exporting import ExportSettings, export_run
from pfedge_export.precision import Calibration
from pfedge_export.precision.int8 import quantise
from pfedge_export.precision.sensitivity import products_by_loss


def test_products_that_lose_most_in_eight_bits_come_first_and_can_stay_in_float32(tiny_run, validation, tmp_path):
    bundle, _ = export_run(tiny_run, ExportSettings(out=tmp_path / "fp32"))
    graph, calibration = onnx.load(bundle.graph_path), Calibration(bundle.bank(), *validation)
    products = products_by_loss(graph, calibration, "tensor")
    assert len(products) == 12  # two blocks: query, key, value, output, and the MLP's two
    worst = next(node for node in graph.graph.node if node.name == products[-1])
    weight = next(value for value in graph.graph.initializer if value.name == worst.input[1])
    matrix = onnx.numpy_helper.to_array(weight).copy()
    matrix[0] *= 1e4  # one large number a column leaves the others no levels
    weight.CopyFrom(onnx.numpy_helper.from_array(matrix, weight.name))
    assert products_by_loss(graph, calibration, "tensor")[0] == worst.name
    whole = quantise(graph, calibration)
    kept = quantise(graph, calibration, keep=products[:3])
    counts = [sum(node.op_type == "MatMulInteger" for node in one.graph.node) for one in (whole, kept)]
    assert counts[0] - counts[1] == 3
    assert set(products[:3]) <= {node.name for node in kept.graph.node if node.op_type == "MatMul"}
