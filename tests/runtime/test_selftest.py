from __future__ import annotations

import numpy as np
import pytest

from pfedge_runtime import Bundle, forget
from pfedge_runtime.engines import OnnxRuntimeEngine, Outputs, run_selftest
from pfedge_runtime.errors import BundleError


@pytest.fixture
def parts(bundle_path):
    bundle = Bundle.open(bundle_path)
    return bundle, OnnxRuntimeEngine(bundle.graph_path)


def test_passes_on_the_golden_bundle(parts):
    outcome = run_selftest(*parts)
    assert outcome.passed
    assert (outcome.cases, outcome.skipped) == (14, 0)


def test_after_forgetting_the_other_rows_are_still_tested(parts, bundle_path):
    forget(bundle_path, [str(i) for i in range(9)])
    outcome = run_selftest(*parts)
    assert outcome.passed
    assert outcome.cases >= 1
    assert outcome.skipped >= 11


def test_an_engine_that_computes_something_else_fails(parts):
    bundle, engine = parts

    class Off:
        def run(self, images, bank):
            return Outputs(engine.run(images, bank).logits + np.float32(0.01))

    assert not run_selftest(bundle, Off()).passed


def test_an_engine_that_gives_nan_fails(parts):
    bundle, engine = parts

    class Broken:
        def run(self, images, bank):
            return Outputs(engine.run(images, bank).logits * np.float32(np.nan))

    assert not run_selftest(bundle, Broken()).passed


def test_a_damaged_file_is_named(parts):
    bundle, engine = parts
    (bundle.path / "selftest.npz").write_bytes(b"PK")
    with pytest.raises(BundleError, match=r"selftest\.npz"):
        run_selftest(bundle, engine)
