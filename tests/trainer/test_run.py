from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from pfedge.errors import BackboneError, RunError
from pfedge.guarantees import load_model
from pfedge.runs import Run


@pytest.fixture
def run_path(tiny_run, tmp_path):
    from pathlib import Path

    return Path(shutil.copytree(tiny_run.folder, tmp_path / "run"))


def test_a_run_and_its_last_checkpoint_hold_the_same_thresholds_included(run_path):
    run, checkpoint = Run.open(run_path), Run.open(run_path / "coloured_seed_42_4.safetensors")
    assert run.config == checkpoint.config
    first, second = load_model(run).trained_state(), load_model(checkpoint).trained_state()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.isfinite(value) for name, value in first.items() if name.endswith("threshold"))


def test_a_loaded_model_is_ready_to_evaluate(run_path):
    assert not load_model(Run.open(run_path)).training


@pytest.mark.parametrize("kept", [0, 50, 1000])
def test_a_truncated_model_is_named(run_path, kept):
    file = run_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(RunError, match=r"model\.safetensors is damaged"):
        Run.open(run_path)


def test_missing_and_foreign_files(tmp_path, run_path):
    with pytest.raises(RunError, match="no run at"):
        Run.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match=r"is not a finished run: no model\.safetensors"):
        Run.open(tmp_path / "empty")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(RunError, match="not a pfedge run of format"):
        Run.open(tmp_path / "other.safetensors")


def test_another_backbone_than_that_of_training_is_refused(run_path, tmp_path, tiny_vit):
    from safetensors.torch import load_file

    other = shutil.copytree(tiny_vit, tmp_path / "vit")
    state = load_file(other / "model.safetensors")
    state["embeddings.cls_token"] = state["embeddings.cls_token"] + 1
    save_file(state, other / "model.safetensors", {"format": "pt"})
    run = Run.open(run_path)
    run = replace(run, config=replace(run.config, train=replace(run.config.train, model_name=str(other))))
    with pytest.raises(BackboneError, match="are not those that"):
        load_model(run)


def test_a_backbone_that_has_moved_is_named_and_can_be_given(run_path, tiny_vit):
    run = Run.open(run_path)
    run = replace(run, config=replace(run.config, train=replace(run.config.train, model_name="/no/longer/there")))
    with pytest.raises(BackboneError, match=r"no backbone folder at /no/longer/there.*--model-name"):
        load_model(run)
    assert load_model(run, str(tiny_vit)).class_ids == (0, 1, 3)


def test_config_for_people_equals_config_for_machines(run_path):
    assert json.loads((run_path / "config.json").read_text()) == Run.open(run_path).config.to_json()
