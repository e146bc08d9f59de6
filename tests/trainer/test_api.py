from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from typing import get_type_hints

import pytest

import pfedge
from pfedge import api
from pfedge_runtime.errors import UsageError


def train_a_small_one(out):
    return pfedge.train(
        "digits", model_name="builtin:micro", guarantee="exact", out=out, train_limit=300, embedding_dim=16
    )


def test_the_example_of_the_docstring_runs(tmp_path):
    run = train_a_small_one(tmp_path / "run")
    assert run.metrics.test_accuracy > 0.5
    assert pfedge.evaluate(run, limit=50, sizes=(1,)).inputs == 50
    bundle = pfedge.export(run, out=tmp_path / "bundle", parity_inputs=4)
    assert bundle.bank().class_ids == tuple(range(10))


@pytest.mark.slow
def test_a_run_is_audited(tmp_path):
    run = train_a_small_one(tmp_path / "run")
    report = pfedge.audit(run, 3, out=tmp_path / "report", limit=10, shadows=0)
    assert report.audited_class.name == "3"
    assert report.to_json()["verdict"] == report.verdict
    assert (tmp_path / "report" / "report.json").is_file()


@pytest.mark.parametrize(
    ("options", "kinds", "named"),
    [
        (api.TrainOptions, (api.TrainConfig, api.TrainSettings), {"dataset", "model_name", "guarantee", "out"}),
        (api.EvalOptions, (api.EvalSettings,), set()),
        (api.ExportOptions, (api.ExportSettings,), {"out"}),
        (api.AuditOptions, (api.AuditSettings,), {"out"}),
    ],
    ids=["train", "evaluate", "export", "audit"],
)
def test_keywords_are_the_fields_of_settings_and_of_their_types(options, kinds, named):
    hints = {name: hint for kind in kinds for name, hint in get_type_hints(kind).items()}
    names = {one.name for kind in kinds for one in fields(kind)} - named
    assert get_type_hints(options) == {name: hints[name] for name in names}


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
