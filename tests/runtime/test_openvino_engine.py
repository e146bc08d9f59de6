from __future__ import annotations

import sys

import numpy as np
import pytest

from pfedge_runtime import Bundle, Classifier, forget
from pfedge_runtime.engines import OpenVinoEngine
from pfedge_runtime.errors import BundleError, MissingExtraError, ProviderError


@pytest.fixture(scope="module")
def openvino():
    return pytest.importorskip("openvino")


def test_gives_the_logits_of_the_golden_bundle_in_float32(openvino, bundle_path, golden):
    engine = OpenVinoEngine(bundle_path / "graph.onnx")
    logits = engine.run(golden["images"], Bundle.open(bundle_path).bank()).logits
    assert np.abs(logits - golden["logits"]).max() < 1e-3


def test_forgetting_sets_a_smaller_bank_and_compiles_nothing(openvino, bundle_path, golden):
    bank = Bundle.open(bundle_path).bank()
    engine = OpenVinoEngine(bundle_path / "graph.onnx", threads=1)
    full = engine.run(golden["images"], bank).logits
    smaller = engine.run(golden["images"], bank.drop({3})).logits
    assert (full.shape, smaller.shape) == ((8, 10), (8, 9))
    assert (engine.sessions, engine.bindings) == (1, 2)
    assert np.array_equal(engine.run(golden["images"], bank).logits, full)


def test_a_classifier_runs_on_it_and_forgets(openvino, bundle_path, golden):
    classifier = Classifier.open(bundle_path, device="openvino", use_thresholds=False)
    assert {row for one in classifier.predict(golden["images"]) for row in one.coverage} == set(range(10))
    forget(bundle_path, ["3"])
    assert 3 not in classifier.predict(golden["images"])[0].coverage


def test_bfloat16_is_close_where_there_is_one_and_refused_where_not(openvino, bundle_path, golden, monkeypatch):
    bank = Bundle.open(bundle_path).bank()
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        logits = OpenVinoEngine(bundle_path / "graph.onnx", precision="bf16").run(golden["images"], bank).logits
        assert 0 < np.abs(logits - golden["logits"]).max() < 0.5
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32"])
    with pytest.raises(ProviderError, match="no bfloat16"):
        OpenVinoEngine(bundle_path / "graph.onnx", precision="bf16")


def test_what_is_no_graph_is_refused(openvino, tmp_path):
    (tmp_path / "graph.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"cannot load .*graph\.onnx in OpenVINO"):
        OpenVinoEngine(tmp_path / "graph.onnx")


def test_a_missing_openvino_names_the_extra(bundle_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"pfedge\[openvino\]"):
        OpenVinoEngine(bundle_path / "graph.onnx")
