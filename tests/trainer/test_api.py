from __future__ import annotations

import subprocess
import sys

import pytest

import pfedge
from pfedge_runtime.errors import UsageError


def test_the_example_of_the_docstring_runs(tmp_path):
    run = pfedge.train(
        "digits",
        model_name="builtin:micro",
        guarantee="exact",
        out=tmp_path / "run",
        train_limit=300,
        embedding_dim=16,
    )
    assert run.metrics.test_accuracy > 0.5
    assert pfedge.evaluate(run, limit=50, sizes=(1,)).inputs == 50
    bundle = pfedge.export(run, out=tmp_path / "bundle", parity_inputs=4)
    assert bundle.bank().class_ids == tuple(range(10))


def test_what_has_no_meaning_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(UsageError, match="unknown options epoch:"):
        pfedge.train("digits", out=tmp_path / "run", epoch=3)
    with pytest.raises(UsageError, match="--views needs --guarantee isolated"):
        pfedge.train("digits", out=tmp_path / "run", views=3)
    with pytest.raises(UsageError, match="choose shared, isolated or exact"):
        pfedge.train("digits", out=tmp_path / "run", guarantee="perfect")


def test_the_public_names_are_these():
    assert pfedge.__all__ == [
        "AuditSettings", "EvalSettings", "ExportSettings", "Run", "TrainConfig", "TrainSettings", "__version__",
        "audit", "evaluate", "export", "train",
    ]  # fmt: skip
    assert all(getattr(pfedge, name) for name in pfedge.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = pfedge.nothing


def test_importing_pfedge_imports_no_torch():
    program = "import pfedge, sys; assert not {'torch', 'pfedge.api'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
