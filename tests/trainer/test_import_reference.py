from __future__ import annotations

import contextlib
import json
import pickle

import numpy as np
import pytest
import torch
from rich.console import Console

from pfedge.errors import BackboneError, DataError, RunError
from pfedge.exporting import ExportSettings, export_run
from pfedge.guarantees import load_model
from pfedge.guarantees.shared import MODES, choose_rows, infer_best
from pfedge.import_reference import ImportSettings, import_reference, open_checkpoint, read_checkpoint
from pfedge.runs import Run
from pfedge.runs.metrics import Metrics
from pfedge_runtime import Classifier
from support.oracle import GENERATION_4, Oracle


@pytest.fixture(scope="module")
def oracle(tiny_vit):
    torch.manual_seed(3)
    return Oracle(tiny_vit, 4).eval()


@pytest.fixture
def source(tiny_vit, shaded_npz):
    return ImportSettings(dataset=str(shaded_npz), model_name=str(tiny_vit))


def same_in_every_mode(oracle, model, images, labels):
    """Largest difference between oracle and model over the modes, given the same choice of rows."""
    pixels = model.backbone.normalize(images)
    size, worst = len(model.class_ids), 0.0
    for mode in ("full_bank", *(mode.name for mode in MODES)):
        for seed in range(3):
            if mode == "infer_best":
                each = [oracle.logits(pixels, torch.full((len(images), 1), c)) for c in range(size)]
                expected, actual = torch.stack(each).amax(0), infer_best(model, model.backbone.embed(images))
            else:
                generator = torch.Generator().manual_seed(seed)
                rows = choose_rows(mode, labels, bank_size=size, generator=generator)
                expected, actual = oracle.logits(pixels, rows), model(images, rows)
            worst = max(worst, float((expected - actual).abs().max()))
    return worst


@torch.no_grad()
def test_every_mode_gives_the_oracles_logits(oracle, source, tmp_path):
    run, model, _ = open_checkpoint(oracle.save(tmp_path / "shaded_seed_7_3.pt"), source)
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (6, 14, 14, 3), dtype=np.uint8))
    assert same_in_every_mode(oracle, model, images, torch.arange(6) % 4) < 1e-4
    assert (run.config.train.seed, run.config.train.epochs) == (7, 3)
    assert model.trained_parameters()["shared"] == 2 * 2 * 2 * 4 * 32


@pytest.mark.slow
@torch.no_grad()
def test_a_real_backbone_gives_the_oracles_logits_and_exports_them(shared_weights, shared_data, tmp_path):
    torch.manual_seed(5)
    oracle = Oracle(shared_weights, 8).eval()
    path = oracle.save(tmp_path / "blood112_seed_42_10.pt")
    source = ImportSettings(dataset=str(shared_data / "blood112"), model_name=str(shared_weights), precision="fp32")
    _, model, dataset = open_checkpoint(path, source)
    inputs = dataset.test.batch(np.arange(0, 480, 60), model.backbone.preprocess)
    images, labels = torch.from_numpy(inputs), torch.from_numpy(dataset.test.labels[::60])
    assert same_in_every_mode(oracle, model, images, labels) < 1e-4
    if GENERATION_4:
        return  # torch exports the graph with either generation; once is enough
    pixels = model.backbone.normalize(images)
    run = Run.create(tmp_path / "run", open_checkpoint(path, source)[0].config, resume=False, overwrite=False)
    run.finish(model.trained_state(), Metrics((), 0.0, [], model.trained_parameters()))
    bundle, _ = export_run(run, ExportSettings(out=tmp_path / "bundle", parity_inputs=16))
    _, logits = Classifier.open(bundle.path).logits(inputs)
    assert np.abs(logits - oracle.logits(pixels, torch.arange(8).expand(8, 8)).numpy()).max() < 1e-4


def test_an_import_is_a_run_without_the_optimizers_memory(oracle, source, tmp_path):
    path = oracle.save(tmp_path / "old.pt")
    run, metrics = import_reference(path, source, tmp_path / "run", Console(quiet=True))
    again = Run.open(tmp_path / "run")
    model = load_model(again)
    assert torch.equal(model.prompts[2], oracle.prompt_dict["2"])
    assert torch.isfinite(model.threshold).all()  # calibrated on the validation split
    assert sorted(file.name for file in run.folder.iterdir()) == ["config.json", "metrics.json", "model.safetensors"]
    assert json.loads((run.folder / "metrics.json").read_text())["test_accuracy"] == metrics.test_accuracy
    assert again.config.imported["file"] == "old.pt"
    with pytest.raises(RunError, match="already holds a run"):
        import_reference(path, source, tmp_path / "run", Console(quiet=True))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"classifier.bias": None}, r"it lacks classifier\.bias"),
        ({"prompt_dict.2": None}, r"it lacks prompt_dict\.2"),
        ({"prompt_dict.4": torch.zeros(1, 32)}, r"unknown tensors prompt_dict\.4"),
        ({"extra.weight": torch.zeros(1)}, r"unknown tensors extra\.weight"),
        ({"prompt_dict.1": torch.zeros(1, 16)}, r"prompt_dict\.1 has shape \[1, 16\], expected \[1, 32\]"),
        ({"prompt_dict.1": torch.full((1, 32), torch.nan)}, r"not finite in prompt_dict\.1"),
        (
            {"backbone.base_model.model.encoder.layer.1.attention.attention.value.lora_B.default.weight": None},
            r"it lacks lora\.1\.value\.B",
        ),
        (
            {
                "backbone.base_model.model.encoder.layer.0.attention.attention.query.lora_A.default.weight": torch.ones(
                    8, 32
                )
            },
            r"lora\.0\.query\.A has shape \[8, 32\], expected \[4, 32\]",
        ),
        (
            {"backbone.base_model.model.layernorm.weight": None},
            r"it lacks backbone\.base_model\.model\.layernorm\.weight",
        ),
        (
            {"backbone.base_model.model.encoder.layer.2.output.dense.bias": torch.zeros(32)},
            r"unknown tensors backbone\.base_model\.model\.encoder\.layer\.2",
        ),
        (
            {"backbone.base_model.model.embeddings.cls_token": torch.zeros(1, 1, 32)},
            r"they differ in embeddings\.cls_token",
        ),
    ],
)
def test_other_tensors_are_refused_by_name(oracle, source, tmp_path, changed, words):
    path = oracle.save(tmp_path / "old.pt", **changed)
    with pytest.raises((RunError, BackboneError), match=words):
        open_checkpoint(path, source)


def test_another_number_of_classes_or_width_is_refused(oracle, source, tmp_path, tiny_vit, coloured_npz):
    from dataclasses import replace

    torch.manual_seed(0)
    more = Oracle(tiny_vit, 5).save(tmp_path / "five.pt")
    with pytest.raises(DataError, match=r"has 5 classes, shaded has 4"):
        open_checkpoint(more, source)
    with pytest.raises(BackboneError, match=r"is 32 wide, the backbone builtin:micro is \d+ wide"):
        open_checkpoint(oracle.save(tmp_path / "old.pt"), replace(source, model_name="builtin:micro"))


class Exploit:
    """What unpickling would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_pickled_objects_are_never_executed(tmp_path, how):
    proof, path = tmp_path / "executed", tmp_path / "evil.pt"
    evil = {"model_state_dict": {"classifier.weight": torch.zeros(2, 2)}, "more": Exploit(proof)}
    if how == "torch":
        torch.save(evil, path)
    else:
        path.write_bytes(pickle.dumps(evil))
    with pytest.raises(RunError, match="nothing in it was executed"):
        read_checkpoint(path)
    assert not proof.exists()
    with contextlib.suppress(Exception):
        torch.load(path, weights_only=False)
    assert proof.exists()  # the control: this file does bite


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_truncated_checkpoints_are_refused(oracle, tmp_path, share):
    data = oracle.save(tmp_path / "old.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[: int(share * len(data))])
    with pytest.raises(RunError, match=r"cut\.pt"):
        read_checkpoint(tmp_path / "cut.pt")


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(RunError, match="no checkpoint at"):
        read_checkpoint(tmp_path / "nosuch.pt")
    for index, value in enumerate(({"weights": torch.zeros(1)}, torch.zeros(1), {"model_state_dict": {"a": 1}})):
        torch.save(value, tmp_path / f"{index}.pt")
        with pytest.raises(RunError, match="has no model_state_dict of tensors"):
            read_checkpoint(tmp_path / f"{index}.pt")
