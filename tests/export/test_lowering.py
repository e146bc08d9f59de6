from __future__ import annotations

import numpy as np
import onnx
import pytest

from pfedge.exporting import ExportSettings, export_run
from pfedge_export.precision import GateError, Validation, lowering
from pfedge_runtime.engines import OnnxRuntimeEngine, Outputs
from pfedge_runtime.errors import UsageError


def products_in_int8(graph):
    return sum(node.op_type == "MatMulInteger" for node in onnx.load(graph).graph.node)


@pytest.fixture
def coarse(monkeypatch):
    """Make an engine that decides otherwise while more than `limit` products are in int8."""

    def install(limit):
        class Coarse(OnnxRuntimeEngine):
            def __init__(self, graph):
                super().__init__(graph)
                self.turned = products_in_int8(graph) > limit

            def run(self, inputs, rows):
                logits = super().run(inputs, rows).logits
                return Outputs(-logits if self.turned else logits)

        monkeypatch.setattr(lowering, "OnnxRuntimeEngine", Coarse)

    return install


def test_a_graph_that_decides_otherwise_is_not_exported(tiny_run, tmp_path, coarse):
    coarse(0)
    with pytest.raises(GateError, match="int8 fails its gate with all rows"):
        export_run(tiny_run, ExportSettings(out=tmp_path / "bundle", precision="int8"))
    assert list(tmp_path.iterdir()) == []


def test_products_go_back_to_float32_until_the_gate_lets_the_graph_pass(tiny_run, tmp_path, coarse):
    coarse(9)
    said = []
    settings = ExportSettings(out=tmp_path / "bundle", precision="int8", max_drop=0.05)
    bundle, _ = export_run(tiny_run, settings, on_progress=said.append)
    gate = bundle.manifest.gate
    assert gate["passed"]
    assert gate["float32_products"] == 12 - products_in_int8(bundle.graph_path) == 4  # 0, 1, 2, then 4 of 12
    assert gate["products"] == 12
    assert [line for line in said if "fails" in line] == [
        f"int8 with {count} of 12 products in float32 fails its gate" for count in (0, 1, 2)
    ]


def test_what_cannot_be_judged_is_not_lowered(tiny_run, tmp_path):
    bundle, _ = export_run(tiny_run, ExportSettings(out=tmp_path / "bundle"))
    engine, bank = OnnxRuntimeEngine(bundle.graph_path), bundle.bank()
    nothing = Validation(np.zeros((0, 14, 14, 3), np.uint8), np.zeros(0, np.int64))
    for validation in (None, nothing):
        with pytest.raises(UsageError, match="needs validation inputs"):
            lowering.lower(bundle.graph_path, engine, bank, validation, precision="int8")
    (tmp_path / "bundle" / "graph.onnx.data").touch()
    some = Validation(np.zeros((1, 14, 14, 3), np.uint8), np.zeros(1, np.int64))
    with pytest.raises(UsageError, match="above 2 GB"):
        lowering.lower(bundle.graph_path, engine, bank, some, precision="fp16")
