from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

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


def test_a_thread_with_another_bank_waits_for_the_one_that_runs(bundle_path, golden, monkeypatch):
    """One thread has bound ten rows and is about to run; another comes with nine. Each gets its own bank's logits."""
    bundle = Bundle.open(bundle_path)
    engine, full = OnnxRuntimeEngine(bundle.graph_path), bundle.bank()
    smaller = full.drop({3})
    alone = [OnnxRuntimeEngine(bundle.graph_path).run(golden["images"], bank).logits for bank in (full, smaller)]
    io_binding, is_bound, other_is_done = engine._session.io_binding, threading.Event(), threading.Event()

    class Paused:
        """A session whose first caller lets the other one go as far as it can."""

        def __getattr__(self, name):
            return getattr(session, name)

        def io_binding(self):
            if not is_bound.is_set():
                is_bound.set()
                other_is_done.wait(0.5)
            return io_binding()

    session, engine._session = engine._session, Paused()

    def other():
        is_bound.wait()
        logits = engine.run(golden["images"], smaller).logits
        other_is_done.set()
        return logits

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(engine.run, golden["images"], full), pool.submit(other)]
        first, second = runs[0].result().logits, runs[1].result()
    assert np.array_equal(first, alone[0])
    assert np.array_equal(second, alone[1])


def test_binding_a_bank_does_not_write_into_another(bundle_path, golden):
    """On the CPU a tensor is a view of its array; two banks of one shape once shared the first one's memory."""
    bundle = Bundle.open(bundle_path)
    engine, bank = OnnxRuntimeEngine(bundle.graph_path), bundle.bank()
    first, second = bank.drop({3}), bank.drop({4})
    before = {name: value.copy() for name, value in first.graph_inputs().items()}
    expected = engine.run(golden["images"], first).logits
    engine.run(golden["images"], second)
    for name, value in first.graph_inputs().items():
        assert np.array_equal(value, before[name]), name
    assert np.array_equal(engine.run(golden["images"], first).logits, expected)


def test_threads_with_the_same_bank_run_at_once(bundle_path, golden):
    bundle = Bundle.open(bundle_path)
    engine, bank = OnnxRuntimeEngine(bundle.graph_path), bundle.bank()
    both = threading.Barrier(2, timeout=10)

    def run():
        with engine._bound(bank):
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(run), pool.submit(run)]:
            done.result()
    assert engine.bindings == 1


def test_a_bank_that_cannot_be_bound_leaves_the_last_one(bundle_path, golden):
    bundle = Bundle.open(bundle_path)
    profile = Profile.of(bundle.manifest.inputs, max_batch=8, max_rows=9)
    engine, smaller = OnnxRuntimeEngine(bundle.graph_path, profile=profile), bundle.bank().drop({3})
    expected = engine.run(golden["images"], smaller).logits
    with pytest.raises(UsageError):
        engine.run(golden["images"], bundle.bank())
    assert np.array_equal(engine.run(golden["images"], smaller).logits, expected)
    assert engine.bindings == 1
