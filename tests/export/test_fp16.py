from __future__ import annotations

import onnx

from pfedge.exporting import ExportSettings, export_run
from pfedge_export.precision import to_fp16


def test_pixels_are_normalised_in_float32(tiny_run, tmp_path):
    graph = to_fp16(onnx.load(export_run(tiny_run, ExportSettings(out=tmp_path / "fp32"))[0].graph_path))
    cast = next(node for node in graph.graph.node if node.op_type == "Cast" and node.name.startswith("node_"))
    assert cast.attribute[0].i == onnx.TensorProto.FLOAT
