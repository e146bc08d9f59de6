from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file

from pfedge.backbone import load_backbone
from pfedge.data import load_dataset
from pfedge.errors import DataError, RunError
from pfedge.guarantees import SharedConfig, load_model, train
from pfedge.guarantees.shared import PromptBankModel, shared_loss
from pfedge.guarantees.shared import train as trainer
from pfedge.interrupt import TrainingInterruptedError
from pfedge.runs import Run, RunConfig
from pfedge.training import TrainSettings, TrainState, save_state, step_seed
from pfedge_runtime.errors import UnknownClassError, UsageError

QUIET = Console(quiet=True)


@pytest.fixture
def config(tiny_vit, coloured_npz):
    return SharedConfig(dataset=str(coloured_npz), model_name=str(tiny_vit), epochs=2, batch_size=16, seed=7)


def settings(folder, **changes):
    return TrainSettings(**{"out": folder, "save_dir": folder, "eval_limit": 10, **changes})


def test_leaves_everything_a_run_folder_promises(tiny_run):
    names = {path.name for path in tiny_run.folder.iterdir()}
    assert {"model.safetensors", "config.json", "metrics.json", "loss.png", "accuracy.png", "confusion.png"} <= names
    assert {"coloured_seed_42_accuracies.json", "coloured_seed_42_4.safetensors"} <= names
    assert "coloured_seed_42_1.safetensors" not in names  # --keep 3
    assert "resume.safetensors" not in names
    metrics = json.loads((tiny_run.folder / "metrics.json").read_text())
    assert [record["epoch"] for record in metrics["history"]] == [1, 2, 3, 4]
    accuracies = json.loads((tiny_run.folder / "coloured_seed_42_accuracies.json").read_text())
    assert len(accuracies) == 8
    assert all(len(values) == 4 for values in accuracies.values())


def test_learns(tiny_run):
    metrics = json.loads((tiny_run.folder / "metrics.json").read_text())
    assert metrics["test_accuracy"] > 0.9
    assert metrics["history"][-1]["loss"] < metrics["history"][0]["loss"]


def test_a_class_without_training_images_gets_no_row(tiny_run):
    assert tiny_run.config.class_ids == (0, 1, 3)
    assert not any(name.startswith("rows.2.") for name in load_file(tiny_run.model_file))


def test_thresholds_accept_the_rows_own_validation_images(tiny_run, coloured_npz):
    from pfedge.compute import choose_autocast
    from pfedge.guarantees.shared import full_bank_logits

    model = load_model(tiny_run)
    val = load_dataset(str(coloured_npz), image_size=14).val
    autocast = choose_autocast("fp32", torch.device("cpu"))
    for position, class_id in enumerate(model.class_ids):
        scores = full_bank_logits(model, val.only([class_id]), autocast=autocast)[:, position]
        assert (scores >= float(model.threshold[position]) - 1e-5).mean() >= 0.95


def test_no_frozen_weight_and_no_optimizer_state_is_in_the_model_file(tiny_run):
    names = set(load_file(tiny_run.model_file))
    assert all(name.startswith(("rows.", "lora.")) for name in names)
    with safe_open(tiny_run.model_file, framework="pt") as file:
        assert json.loads(file.metadata()["pfedge"])["config"]["train"]["lr"] == 5e-3


def test_the_same_seed_gives_the_same_model(tmp_path, config):
    first, second = (train(config, settings(tmp_path / name), QUIET)[0] for name in ("a", "b"))
    assert first.model_file.read_bytes() == second.model_file.read_bytes()


def test_an_interrupted_run_resumes_to_the_very_same_model(tmp_path, config, monkeypatch):
    whole, _ = train(config, settings(tmp_path / "whole"), QUIET)
    steps = []

    def interrupt_in_second_epoch(*arguments):
        steps.append(1)
        if len(steps) == 9:  # 6 steps an epoch
            os.kill(os.getpid(), signal.SIGINT)
        return shared_loss(*arguments)

    monkeypatch.setattr(trainer, "shared_loss", interrupt_in_second_epoch)
    with pytest.raises(TrainingInterruptedError, match="--resume goes on"):
        train(config, settings(tmp_path / "cut"), QUIET)
    assert len(steps) == 9
    with pytest.raises(RunError, match="training is not finished"):
        Run.open(tmp_path / "cut")
    resumed, _ = train(config, settings(tmp_path / "cut", resume=True), QUIET)
    assert len(steps) == 12
    for name, tensor in load_file(whole.model_file).items():
        assert torch.equal(tensor, load_file(resumed.model_file)[name]), name
    records = [
        json.loads((folder / "metrics.json").read_text())["history"] for folder in (whole.folder, resumed.folder)
    ]
    for one, other in zip(*records, strict=True):
        assert one["loss"] == pytest.approx(other["loss"])
        assert one["accuracy"] == other["accuracy"]


def test_resume_refuses_another_configuration(tmp_path, config):
    model, dataset = parts(config)
    described = RunConfig(
        train=config,
        dataset_name=dataset.name,
        classes=dataset.classes,
        class_ids=model.class_ids,
        backbone_digest=model.backbone.digest,
    )
    run = Run.create(tmp_path / "run", described, resume=False, overwrite=False)
    save_state(run, model, torch.optim.Adam(model.parameters()), TrainState())
    with pytest.raises(RunError, match="begun with another lr"):
        train(replace(config, lr=0.5), settings(tmp_path / "run", resume=True), QUIET)


def parts(config):
    dataset = load_dataset(config.dataset, image_size=14)
    return PromptBankModel(load_backbone(config.model_name), class_ids=[0, 1, 3]), dataset


def test_nothing_is_overwritten_unless_asked(tmp_path, config, tiny_run):
    before = tiny_run.model_file.read_bytes()
    with pytest.raises(RunError, match="already holds a run: --overwrite"):
        train(config, settings(tiny_run.folder), QUIET)
    with pytest.raises(RunError, match=r"nothing to resume: .* is finished"):
        train(config, settings(tiny_run.folder, resume=True), QUIET)
    assert tiny_run.model_file.read_bytes() == before
    train(config, settings(tmp_path / "run"), QUIET)
    train(replace(config, epochs=1), settings(tmp_path / "run", overwrite=True), QUIET)
    assert [path.name for path in (tmp_path / "run").glob("*_seed_7_*.safetensors")] == [
        "coloured_seed_7_1.safetensors"
    ]


def test_bad_input_does_not_cost_the_run_that_overwrite_would_replace(tmp_path, config):
    run, _ = train(replace(config, epochs=1), settings(tmp_path / "run"), QUIET)
    before = run.model_file.read_bytes()
    with pytest.raises(UsageError):
        train(config, settings(tmp_path / "run", overwrite=True, eval_split="tset"), QUIET)
    with pytest.raises(DataError):
        train(replace(config, dataset="nosuch"), settings(tmp_path / "run", overwrite=True), QUIET)
    assert run.model_file.read_bytes() == before


def test_a_class_that_the_limit_leaves_without_images_gets_no_row(tmp_path, config):
    run, _ = train(replace(config, train_limit=1, epochs=1), settings(tmp_path / "run"), QUIET)
    assert len(run.config.class_ids) == 1


def test_excluded_classes_leave_no_trace(tmp_path, config):
    """Their images are never seen: the model equals one trained on a file that never had them."""
    run, _ = train(replace(config, exclude=("1",)), settings(tmp_path / "a"), QUIET)
    assert run.config.class_ids == (0, 3)
    with np.load(config.dataset) as archive:
        arrays = {name: archive[name] for name in archive.files}
    keep = arrays["train_labels"].ravel() != 1
    arrays["train_images"], arrays["train_labels"] = arrays["train_images"][keep], arrays["train_labels"][keep]
    np.savez(tmp_path / "without.npz", **arrays)
    never, _ = train(replace(config, dataset=str(tmp_path / "without.npz")), settings(tmp_path / "b"), QUIET)
    for name, tensor in load_file(never.model_file).items():
        assert torch.equal(tensor, load_file(run.model_file)[name]), name


def test_bad_choices_are_refused(tmp_path, config):
    with pytest.raises(UnknownClassError):
        train(replace(config, exclude=("nosuch",)), settings(tmp_path / "a"), QUIET)
    with pytest.raises(DataError, match="no class is left"):
        train(replace(config, exclude=("0", "1", "3")), settings(tmp_path / "a"), QUIET)
    with pytest.raises(UsageError, match="choose val or test"):
        train(config, settings(tmp_path / "a", eval_split="train"), QUIET)


def test_the_loss_is_cross_entropy_plus_kl_to_uniform():
    """Checked by hand on a model that returns fixed logits."""

    class Fixed:
        class_ids = (0, 1)
        backbone = type("B", (), {"embed": staticmethod(lambda images: images)})()
        calls = 0

        def score(self, _tokens, _rows):
            self.calls += 1
            return torch.tensor([[2.0, 0.0]]) if self.calls == 1 else torch.tensor([[1.0, -1.0]])

    loss = shared_loss(Fixed(), torch.zeros(1, 1), torch.tensor([0]), torch.Generator().manual_seed(0))
    cross_entropy = np.log(1 + np.exp(-2.0))
    log_probability = np.array([1.0, -1.0]) - np.log(np.exp(1.0) + np.exp(-1.0))
    kl = float((0.5 * (np.log(0.5) - log_probability)).sum())
    assert loss.item() == pytest.approx(cross_entropy + kl, abs=1e-6)


def test_step_seeds_differ():
    seeds = {step_seed(seed, epoch, step) for seed in range(5) for epoch in range(5) for step in range(50)}
    assert len(seeds) == 5 * 5 * 50
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.slow
def test_ctrl_c_of_the_command_line_saves_and_resumes(tmp_path, tiny_vit, coloured_npz):
    command = [
        sys.executable, "-m", "pfedge", "train", "--dataset", coloured_npz, "--model-name", tiny_vit,
        "--out", tmp_path / "run", "--epochs", "4000", "--eval-every", "4000", "--keep", "1",
    ]  # fmt: skip
    said = tmp_path / "said.txt"  # a pipe that nobody reads while it trains would fill up and stop it
    with said.open("w") as file:
        process = subprocess.Popen(list(map(str, command)), stderr=file, cwd=tmp_path)
    watchdog = threading.Timer(300, process.kill)
    watchdog.start()
    while not list((tmp_path / "run").glob("coloured_seed_42_*.safetensors")) and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.wait()
    watchdog.cancel()
    errors = said.read_text()
    assert process.returncode == 130
    assert errors.strip().endswith("the same command with --resume goes on")
    assert "Traceback" not in errors
    assert (tmp_path / "run" / "resume.safetensors").is_file()


def test_one_excluded_class_is_one():
    assert SharedConfig(exclude="10").exclude == ("10",)
