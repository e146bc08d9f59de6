from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from pfedge.data import load_dataset
from pfedge.evaluation import EvalSettings, evaluate_run
from pfedge.exporting import ExportSettings, export_run
from pfedge.guarantees import IsolatedConfig, load_model, train
from pfedge.guarantees.isolated import isolated_logits, isolated_loss
from pfedge.guarantees.isolated import train as trainer
from pfedge.interrupt import TrainingInterruptedError
from pfedge.runs import Run
from pfedge.training import TrainSettings
from pfedge_runtime import Classifier, forget
from pfedge_runtime.engines import OnnxRuntimeEngine, run_selftest
from pfedge_runtime.errors import UsageError

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def config(shaded_npz, tiny_vit):
    return IsolatedConfig(
        dataset=str(shaded_npz), model_name=str(tiny_vit), embedding_dim=24, epochs=5, lr=1e-2,
        batch_size=16, tokens_per_class=2,
    )  # fmt: skip


def run_in(folder, config, **kwargs):
    return train(config, TrainSettings(out=folder, save_dir=folder, precision="fp32", **kwargs), QUIET)


@pytest.fixture(scope="module")
def run(tmp_path_factory, config):
    return run_in(tmp_path_factory.mktemp("isolated") / "run", config)


def test_training_learns_and_leaves_no_cache(run):
    folder, metrics = run[0].folder, run[1]
    assert metrics.test_accuracy > 0.9
    assert metrics.history[-1].loss < metrics.history[0].loss
    assert metrics.cache == "memory"
    assert {file.name for file in folder.iterdir()} == {
        "config.json", "metrics.json", "model.safetensors", "accuracy.png", "confusion.png", "loss.png",
        "shaded_seed_42_3.safetensors", "shaded_seed_42_4.safetensors", "shaded_seed_42_5.safetensors",
    }  # fmt: skip
    last, whole = (load_model(Run.open(folder / name)).bank() for name in ("shaded_seed_42_5.safetensors", "."))
    assert last.digest() == whole.digest()


def test_the_loss_is_cross_entropy_and_half_one_vs_rest():
    logits, target = torch.tensor([[2.0, -1.0], [0.5, 0.0]]), torch.tensor([0, 1])
    probability = torch.softmax(logits, 1)[torch.arange(2), target]
    own = torch.sigmoid(logits)
    rest = -torch.stack([own[0, 0].log(), (1 - own[0, 1]).log(), (1 - own[1, 0]).log(), own[1, 1].log()]).mean()
    assert torch.isclose(isolated_loss(logits, target), -probability.log().mean() + 0.5 * rest)


def test_what_was_cached_elsewhere_trains_alike(config, tmp_path, run):
    disk, _ = run_in(tmp_path / "disk", config, cache="disk")
    assert load_model(disk).bank().digest() == load_model(run[0]).bank().digest()
    assert run_in(tmp_path / "none", config, cache="none")[1].test_accuracy > 0.9


def test_several_views_are_cached_and_trained_on(config, tmp_path, run):
    of_views, metrics = run_in(tmp_path / "views", replace(config, views=3))
    assert metrics.test_accuracy > 0.9
    assert load_model(of_views).bank().digest() != load_model(run[0]).bank().digest()
    assert of_views.config.train.views == 3


def test_an_interrupted_run_resumes_to_the_same_bytes(config, tmp_path, monkeypatch, run):
    calls = []

    def interrupt(*arguments):
        calls.append(1)
        if len(calls) == 10:  # 4 steps an epoch: in the third
            os.kill(os.getpid(), signal.SIGINT)
        return isolated_loss(*arguments)

    monkeypatch.setattr(trainer, "isolated_loss", interrupt)
    with pytest.raises(TrainingInterruptedError, match="--resume goes on"):
        run_in(tmp_path / "cut", config, cache="disk")
    assert not list((tmp_path / "cut").glob("cache*"))
    resumed, _ = run_in(tmp_path / "cut", config, resume=True)
    assert len(calls) == 10 + 3 * 4
    assert load_model(resumed).bank().digest() == load_model(run[0]).bank().digest()


def test_no_retained_logit_moves_on_the_device(run, config, tmp_path):
    bundle, report = export_run(run[0], ExportSettings(out=tmp_path / "bundle"))
    assert report.passed
    assert bundle.manifest.inputs["prompts"]["shape"] == ["R", 2, 32]
    assert bundle.manifest.outputs["embedding"]["shape"] == ["B", 24]
    engine = OnnxRuntimeEngine(bundle.graph_path)
    assert run_selftest(bundle, engine).passed
    inputs = load_dataset(config.dataset).test.batch(np.arange(40), bundle.manifest.preprocess)
    before = engine.run(inputs, bundle.bank()).logits
    forget(bundle.path, ["1", "2"])
    after = Classifier.open(bundle.path).logits(inputs)[1]
    assert np.abs(before[:, [0, 3]] - after).max() < 1e-5


def test_every_forget_set_follows_from_one_pass(run, config, tmp_path):
    evaluation = evaluate_run(run[0].folder, EvalSettings(save_dir=tmp_path), QUIET)
    assert {k: len(found) for k, found in evaluation.outcome.subsets.items()} == {1: 4, 2: 6, 3: 4}
    assert evaluation.outcome.accuracy == run[1].test_accuracy
    assert len(evaluation.outcome.abstention) == 4
    assert (tmp_path / "shaded_seed_42_forgetting.png").is_file()


def test_prompt_modes_alone_cannot_be_measured(run):
    with pytest.raises(UsageError, match="has no prompt modes"):
        evaluate_run(run[0].folder, EvalSettings(forgetting=False), QUIET)


def test_a_run_is_loaded_with_its_embedding(run, config, shaded_npz):
    model = load_model(Run.open(run[0].folder))
    test = load_dataset(str(shaded_npz)).test
    assert (isolated_logits(model, test, QUIET).argmax(1) == test.labels).mean() == run[1].test_accuracy


def test_a_class_never_given_gets_no_row(config, tmp_path):
    run, _ = run_in(tmp_path / "run", replace(config, exclude=("2",), epochs=1))
    assert load_model(run).class_ids == (0, 1, 3)
