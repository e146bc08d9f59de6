"""Golden artefacts of every released format: each later version must read them. Never regenerate a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pfedge_runtime import Bundle, Classifier, forget
from pfedge_runtime.onnxruntime_engine import OnnxRuntimeEngine
from pfedge_runtime.selftest import run_selftest

FORMATS = Path(__file__).parent / "formats"
VERSIONS = sorted(path.parent for path in FORMATS.rglob("bundle") if path.is_dir())


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda path: str(path.relative_to(FORMATS)))
def test_a_released_bundle_opens_predicts_forgets_and_passes_its_self_test(folder, tmp_path):
    path = shutil.copytree(folder / "bundle", tmp_path / "bundle")
    with np.load(folder / "expected.npz") as archive:
        images, expected = archive["images"], archive["logits"]
    _, logits = Classifier.open(path).logits(images)
    assert np.allclose(logits, expected, rtol=1e-5, atol=1e-4)
    forget(path, ["3"])
    bundle = Bundle.open(path)
    assert 3 not in bundle.bank().class_ids
    assert run_selftest(bundle, OnnxRuntimeEngine(bundle.graph_path)).passed
