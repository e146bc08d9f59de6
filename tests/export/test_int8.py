from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from rich.console import Console

from pfedge.exporting import ExportSettings, export_run
from pfedge.guarantees import IsolatedConfig, train
from pfedge.training import TrainSettings
from pfedge_runtime import Bundle, Classifier, forget
from pfedge_runtime.engines import OnnxRuntimeEngine, open_engine, run_selftest
from pfedge_runtime.errors import UsageError

LOWER = [("fp16", "dynamic"), ("int8", "dynamic"), ("int8", "tensor"), ("int8", "static")]


@pytest.fixture(scope="module", params=LOWER, ids=["fp16", "int8-dynamic", "int8-tensor", "int8-static"])
def lower(request, tiny_run, tmp_path_factory):
    precision, quantization = request.param
    out = tmp_path_factory.mktemp("lower") / "bundle"
    settings = ExportSettings(out=out, precision=precision, quantization=quantization, max_drop=0.05)
    return export_run(tiny_run, settings)[0]


def test_the_graph_computes_in_what_was_asked_for_and_keeps_its_signature(lower, tiny_run, tmp_path):
    graph = onnx.load(lower.graph_path)
    whole = onnx.load(export_run(tiny_run, ExportSettings(out=tmp_path / "fp32"))[0].graph_path)
    assert graph.graph.input == whole.graph.input
    operators = {node.op_type for node in graph.graph.node}
    if lower.manifest.precision == "fp16":
        weights = [value.data_type for value in graph.graph.initializer if np.prod(value.dims) >= 32 * 32]
        assert weights
        assert set(weights) == {onnx.TensorProto.FLOAT16}
    else:
        assert operators & {"MatMulInteger", "QLinearMatMul", "DequantizeLinear"}
        kept = {node.op_type for node in whole.graph.node} - {"MatMul"}
        assert kept <= operators
    head = next(node for node in graph.graph.node if "head_bias" in node.input)
    assert "logits" in head.output


def test_the_report_of_the_gate_is_in_the_manifest(lower):
    manifest = Bundle.open(lower.path).manifest
    assert manifest.gate["passed"]
    assert [bank["rows"] for bank in manifest.gate["banks"]] == [3, 1]
    assert manifest.gate["precision"] == manifest.precision
    assert manifest.parity["passed"]


def test_it_predicts_forgets_and_passes_its_self_test(lower, validation):
    classifier = Classifier.open(lower.path, use_thresholds=False)
    named = [one.class_id for one in classifier.predict(validation[0])]
    assert np.mean(named == validation[1]) > 0.9
    if 1 in classifier.bank.class_ids:
        forget(lower.path, ["1"])
    assert {one.class_id for one in classifier.predict(validation[0])} <= {0, 3}
    assert run_selftest(Bundle.open(lower.path), open_engine(lower)).passed


def test_no_byte_of_a_row_is_in_the_graph(lower):
    data = lower.graph_path.read_bytes()
    for class_id in lower.bank().class_ids:
        row = lower.bank().row(class_id)
        for vector in (*row["prompts"], row["head_weight"]):
            assert vector.tobytes() not in data
            assert vector.astype(np.float16).tobytes() not in data


def test_openvino_runs_it_too(lower, validation):
    pytest.importorskip("openvino")
    bank = lower.bank()
    ours = open_engine(lower).run(validation[0], bank).logits
    theirs = open_engine(lower, "openvino").run(validation[0], bank).logits
    assert (ours.argmax(1) == theirs.argmax(1)).mean() > 0.9


@pytest.fixture(scope="module")
def isolated_run(tmp_path_factory, tiny_vit, coloured_npz):
    folder = tmp_path_factory.mktemp("isolated") / "run"
    config = IsolatedConfig(dataset=str(coloured_npz), model_name=str(tiny_vit), epochs=8, embedding_blocks=(1, 2))
    return train(config, TrainSettings(out=folder, save_dir=folder), Console(quiet=True))[0]


@pytest.mark.parametrize("quantization", ["dynamic", "static"])
def test_in_int8_no_retained_logit_of_isolated_moves_either(isolated_run, quantization, validation, tmp_path):
    settings = ExportSettings(out=tmp_path / "int8", precision="int8", quantization=quantization, max_drop=1)
    bundle = export_run(isolated_run, settings)[0]
    engine, bank = OnnxRuntimeEngine(bundle.graph_path), bundle.bank()
    full = engine.run(validation[0], bank).logits
    for gone in bank.class_ids:
        kept = [at for at, class_id in enumerate(bank.class_ids) if class_id != gone]
        assert np.abs(engine.run(validation[0], bank.drop({gone})).logits - full[:, kept]).max() <= 1e-5


def test_one_scale_for_all_rows_is_refused_under_isolated(isolated_run, tmp_path):
    settings = ExportSettings(out=tmp_path / "int8", precision="int8", quantization="tensor")
    with pytest.raises(UsageError, match="dropping one would move the others"):
        export_run(isolated_run, settings)
    assert not settings.out.exists()


def test_by_token_a_score_does_not_depend_on_what_else_is_asked_about(tiny_run, validation, tmp_path):
    settings = ExportSettings(out=tmp_path / "int8", precision="int8", max_drop=0.05)
    bundle = export_run(tiny_run, settings)[0]
    engine, bank = OnnxRuntimeEngine(bundle.graph_path), bundle.bank()
    together = engine.run(validation[0][:8], bank).logits
    alone = np.concatenate([engine.run(image[None], bank).logits for image in validation[0][:8]])
    assert np.abs(together - alone).max() < 1e-4


@pytest.mark.parametrize(
    ("settings", "why"), [({"precision": "int4"}, "unknown precision"), ({"quantization": "x"}, "unknown")]
)
def test_unknown_choices_are_refused(tiny_run, tmp_path, settings, why):
    with pytest.raises(UsageError, match=why):
        export_run(tiny_run, replace(ExportSettings(out=tmp_path / "bundle"), **settings))
