from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pfedge.data import load_dataset
from pfedge.errors import DataError, RunError
from pfedge.exporting import ExportSettings, export_run
from pfedge.guarantees import ExactConfig, add_to, load_model, train
from pfedge.guarantees.exact import Accumulator
from pfedge.runs import Run
from pfedge.training import TrainSettings
from pfedge_runtime import Bundle, Classifier, forget
from pfedge_runtime.bank import RowKey
from pfedge_runtime.engines import OnnxRuntimeEngine, run_selftest
from pfedge_runtime.errors import BankError, UnknownClassError, UsageError

QUIET = Console(quiet=True)
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "studies" / "exactness.py"


@pytest.fixture
def config(shaded_npz, tiny_vit):
    return ExactConfig(dataset=str(shaded_npz), model_name=str(tiny_vit), embedding_dim=24)


@pytest.fixture
def with_sources(shaded_npz, tmp_path):
    """The same set, each image of one of two clinics."""
    arrays = dict(np.load(shaded_npz))
    for split in ("train", "val", "test"):
        labels = arrays[f"{split}_labels"]
        arrays[f"{split}_clinic"] = np.array(["north", "south"])[(np.arange(len(labels)) // 4) % 2]
    np.savez(tmp_path / "clinics.npz", **arrays)
    return tmp_path / "clinics.npz"


def run_in(folder, config, **kwargs):
    return train(config, TrainSettings(out=folder, save_dir=folder, **kwargs), QUIET)


def variant(config, **changes):
    from dataclasses import replace

    return replace(config, **changes)


def test_what_is_abstained_on_is_said_beside_the_accuracy(config, tmp_path):
    run, metrics = run_in(tmp_path / "run", config)
    export_run(run, ExportSettings(out=tmp_path / "bundle"))
    test = load_dataset(config.dataset, image_size=28).test
    classifier = Classifier.open(tmp_path / "bundle")
    said = classifier.predict(test.batch(np.arange(len(test)), classifier.bundle.manifest.preprocess))
    accepted = np.array([not one.abstained for one in said])
    right = np.array([one.class_id for one in said]) == test.labels
    assert metrics.accepted == pytest.approx(accepted.mean())
    assert metrics.accepted_accuracy == pytest.approx(right[accepted].mean())
    assert f"accepted {metrics.accepted:.3f}" in Run.open(run.folder).metrics.describe()


def test_few_validation_inputs_are_warned_of(config, shaded_npz, tmp_path):
    from io import StringIO

    arrays = dict(np.load(shaded_npz))
    some = np.concatenate([np.flatnonzero(arrays["val_labels"].ravel() == label)[:4] for label in (0, 1, 2)])
    arrays |= {name: arrays[name][some] for name in ("val_images", "val_labels")}
    np.savez(tmp_path / "few.npz", **arrays)
    console = Console(file=StringIO(), width=400)
    settings = TrainSettings(out=tmp_path / "run", save_dir=tmp_path / "run")
    train(variant(config, dataset=str(tmp_path / "few.npz")), settings, console)
    said = console.file.getvalue()
    assert "fewer than 20 validation inputs" in said
    assert " 4, " in said
    assert "a row without any accepts everything" in said


def test_training_is_sums_and_a_solved_head(config, tmp_path):
    run, metrics = run_in(tmp_path / "run", config)
    assert metrics.test_accuracy > 0.8
    model = load_model(Run.open(tmp_path / "run"))
    assert model.class_ids == (0, 1, 2, 3)
    assert [row.count for row in model.bank().rows.values()] == [16] * 4
    assert all(np.isfinite(row.threshold) for row in model.bank().rows.values())
    assert model.trained_parameters()["shared"] == 0
    assert not (run.folder / "resume.safetensors").exists()


@pytest.mark.slow
def test_forgetting_is_never_having_known_in_another_process(shaded_npz, tiny_vit):
    """Every class and twenty random sets, data shuffled, another batch size."""
    command = [sys.executable, str(BENCHMARK), str(shaded_npz), str(tiny_vit)]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    assert json.loads(outcome.stdout.splitlines()[-1]) == {"sets": 24, "equal": 24}, outcome.stdout + outcome.stderr


def test_exclusion_and_forgetting_agree_on_the_deployed_bundle(config, tmp_path):
    run, _ = run_in(tmp_path / "run", config)
    without, _ = run_in(tmp_path / "without", variant(config, exclude=("2",), batch_size=5))
    bundle, report = export_run(run, ExportSettings(out=tmp_path / "bundle"))
    assert report.passed
    assert bundle.manifest.inputs["head_weight"]["shape"] == ["R", 24]
    assert "prompts" not in bundle.manifest.inputs
    assert run_selftest(bundle, OnnxRuntimeEngine(bundle.graph_path)).passed
    graph = bundle.graph_path.read_bytes()
    assert forget(bundle.path, ["2"]).bank_after == load_model(without).bank().digest()
    assert bundle.bank_path.read_bytes() == load_model(without).bank().to_bytes()
    assert bundle.graph_path.read_bytes() == graph
    test = load_dataset(config.dataset).test
    predictions = Classifier.open(bundle.path).predict(test.batch(np.arange(40), bundle.manifest.preprocess))
    assert all(prediction.coverage == (0, 1, 3) for prediction in predictions)


def test_a_source_is_forgotten_in_every_class(config, with_sources, tmp_path):
    run, _ = run_in(tmp_path / "run", variant(config, dataset=str(with_sources), source_column="clinic"))
    bundle, _ = export_run(run, ExportSettings(out=tmp_path / "bundle"))
    with pytest.raises(UnknownClassError, match="unknown source 'west'; known are: north, south"):
        forget(bundle.path, [], sources=["west"])
    outcome = forget(bundle.path, [], sources=["south"])
    assert outcome.coverage == (0, 1, 2, 3)
    assert set(Bundle.open(bundle.path).bank().rows) == {RowKey(i, "north") for i in range(4)}
    with pytest.raises(Exception, match="source 'south' is already forgotten"):
        forget(bundle.path, [], sources=["south"])
    with pytest.raises(Exception, match="at least one row"):
        forget(bundle.path, [], sources=["north"])


def test_rows_without_sources_have_none_to_forget(config, tmp_path):
    run, _ = run_in(tmp_path / "run", config)
    bundle, _ = export_run(run, ExportSettings(out=tmp_path / "bundle"))
    with pytest.raises(UsageError, match="keeps no rows by source"):
        forget(bundle.path, [], sources=["north"])


def test_a_class_added_later_gives_the_bank_of_training_at_once(config, tmp_path, shaded_npz):
    whole, _ = run_in(tmp_path / "whole", config)
    part, _ = run_in(tmp_path / "part", variant(config, exclude=("2",)))
    rest = variant(config, exclude=("0", "1", "3"))
    grown, _ = add_to(part.folder, rest, None, TrainSettings(out=tmp_path / "grown", save_dir=tmp_path), QUIET)
    assert load_model(grown).bank().to_bytes() == load_model(whole).bank().to_bytes()
    assert Run.open(tmp_path / "grown").config.class_ids == (0, 1, 2, 3)
    with pytest.raises(BankError, match="has rows 2 already"):
        add_to(grown.folder, rest, None, TrainSettings(out=tmp_path / "again", save_dir=tmp_path), QUIET)


def test_rows_of_a_source_stand_beside_those_of_none(config, with_sources, tmp_path):
    part, _ = run_in(tmp_path / "part", config)
    more = variant(config, dataset=str(with_sources), source_column="clinic", exclude=("0", "1", "3"))
    run, _ = add_to(part.folder, more, None, TrainSettings(out=tmp_path / "grown", save_dir=tmp_path), QUIET)
    assert set(load_model(run).bank().rows) == {*map(RowKey, range(4)), RowKey(2, "north"), RowKey(2, "south")}
    bundle, _ = export_run(run, ExportSettings(out=tmp_path / "bundle"))
    forget(bundle.path, [], sources=["south"])
    assert set(Bundle.open(bundle.path).bank().rows) == {*map(RowKey, range(4)), RowKey(2, "north")}
    forget(bundle.path, ["2"])
    assert Bundle.open(bundle.path).bank().class_ids == (0, 1, 3)


def test_rows_are_not_added_to_other_runs_or_backbones(config, tiny_run, tmp_path):
    settings = TrainSettings(out=tmp_path / "grown", save_dir=tmp_path)
    with pytest.raises(RunError, match="is of guarantee shared"):
        add_to(tiny_run.folder, config, None, settings, QUIET)
    run, _ = run_in(tmp_path / "run", config)
    with pytest.raises(Exception, match="are not those that"):
        add_to(run.folder, config, "builtin:micro", settings, QUIET)


def test_a_column_that_is_not_there_is_named(config, tmp_path):
    with pytest.raises(DataError, match="has no array train_clinic"):
        run_in(tmp_path / "run", variant(config, source_column="clinic"))


def test_embeddings_that_are_not_finite_are_refused():
    with pytest.raises(BankError, match="not finite"):
        Accumulator({}).add([RowKey(0)], np.array([[np.nan]], np.float32))


def test_an_interrupted_pass_resumes_to_the_same_bytes(tiny_vit, tmp_path):
    """Ctrl-C in the middle of a pass over digits, then --resume."""
    command = [
        sys.executable, "-m", "pfedge", "train", "--guarantee", "exact", "--dataset", "digits",
        "--model-name", str(tiny_vit), "--image-size", "70", "--embedding-dim", "16", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert "training inputs" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 130, rest
    assert "--resume goes on" in rest
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    whole, _ = run_in(
        tmp_path / "whole",
        ExactConfig(dataset="digits", model_name=str(tiny_vit), image_size=70, embedding_dim=16),
    )
    assert load_model(Run.open(tmp_path / "run")).bank().to_bytes() == load_model(whole).bank().to_bytes()
