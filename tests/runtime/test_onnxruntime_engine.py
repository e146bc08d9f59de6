from __future__ import annotations

import sys

import numpy as np
import pytest

from pfedge_runtime import Bundle
from pfedge_runtime.engines import OnnxRuntimeEngine, Profile
from pfedge_runtime.errors import BundleError, MissingExtraError, ProviderError, UsageError


def test_gives_the_logits_of_the_golden_bundle(bundle_path, golden):
    bundle = Bundle.open(bundle_path)
    engine = OnnxRuntimeEngine(bundle.graph_path)
    assert np.abs(engine.run(golden["images"], bundle.bank()).logits - golden["logits"]).max() < 1e-4


def test_one_column_per_row(bundle_path, golden):
    bundle = Bundle.open(bundle_path)
    engine = OnnxRuntimeEngine(bundle.graph_path, threads=1)
    for rows in ((0,), (2, 5), tuple(range(10))):
        assert engine.run(golden["images"], bundle.bank().select(rows)).logits.shape == (8, len(rows))


def test_dropping_is_not_zeroing(bundle_path, golden):
    bundle = Bundle.open(bundle_path)
    bank = bundle.bank()
    engine = OnnxRuntimeEngine(bundle.graph_path)
    dropped = engine.run(golden["images"], bank.drop({3})).logits
    parts = {name: np.array(getattr(bank, name)) for name in ("prompts", "head_weight", "head_bias", "threshold")}
    for part in parts.values():
        part[3] = 0
    zeroed = engine.run(golden["images"], type(bank)(class_ids=bank.class_ids, **parts)).logits
    assert np.abs(np.delete(zeroed, 3, axis=1) - dropped).max() > 1e-3


def test_forgetting_rebinds_a_smaller_bank_and_opens_no_session(bundle_path, golden):
    bank = Bundle.open(bundle_path).bank()
    engine = OnnxRuntimeEngine(bundle_path / "graph.onnx")
    session = engine._session
    for _ in range(3):
        engine.run(golden["images"], bank)
    assert (engine.sessions, engine.bindings) == (1, 1)
    smaller = bank.drop({3})
    assert engine.run(golden["images"], smaller).logits.shape == (8, 9)
    assert (engine.sessions, engine.bindings) == (1, 2)
    assert engine._session is session
    assert engine._bank is smaller


def test_inputs_outside_the_profile_are_refused(bundle_path, golden):
    bundle = Bundle.open(bundle_path)
    profile = Profile.of(bundle.manifest.inputs, max_batch=4, max_rows=9)
    engine = OnnxRuntimeEngine(bundle.graph_path, profile=profile)
    with pytest.raises(UsageError, match=r"prompts of shape \[10, .*outside what the engine was built for"):
        engine.run(golden["images"][:4], bundle.bank())
    smaller = bundle.bank().drop({3})
    assert engine.run(golden["images"][:4], smaller).logits.shape == (4, 9)
    with pytest.raises(UsageError, match=r"images of shape \[5, "):
        engine.run(golden["images"][:5], smaller)


def test_an_unknown_device_is_refused(bundle_path):
    with pytest.raises(UsageError, match="unknown device 'tpu'"):
        OnnxRuntimeEngine(bundle_path / "graph.onnx", device="tpu")


def test_a_provider_that_is_not_there_is_an_error_and_no_fallback(bundle_path):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ProviderError, match="CUDAExecutionProvider"):
        OnnxRuntimeEngine(bundle_path / "graph.onnx", device="cuda")


def test_a_provider_that_fails_to_load_is_an_error_and_no_fallback(bundle_path, monkeypatch):
    """ONNX Runtime lists a provider whose libraries are missing, warns, and goes on with the CPU."""
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises((ProviderError, BundleError), match=r"CUDAExecutionProvider.*onnxruntime_providers_cuda"):
        OnnxRuntimeEngine(bundle_path / "graph.onnx", device="cuda:0")


def test_a_missing_onnxruntime_names_the_extra(bundle_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pfedge\[cpu\]"):
        OnnxRuntimeEngine(bundle_path / "graph.onnx")


def test_a_graph_that_is_none_is_refused(tmp_path):
    (tmp_path / "graph.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"cannot load .*graph\.onnx"):
        OnnxRuntimeEngine(tmp_path / "graph.onnx")
