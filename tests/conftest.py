"""What tests share: a golden bundle for the runtime, a tiny backbone and run for the trainer, real data if there."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support.paths import GOLDEN, SHARED


@pytest.fixture(scope="session", autouse=True)
def no_real_device(tmp_path_factory):
    """Fixtures of a module or of the session must not open the state of whoever runs the tests, either."""
    folder = tmp_path_factory.mktemp("session")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PFEDGE_STATE_DIR", str(folder / "state"))
        patch.setenv("PFEDGE_FLOOR_FILE", str(folder / "floor"))
        yield


@pytest.fixture(autouse=True)
def device_state(tmp_path_factory, monkeypatch):
    """A device of its own for every test, which has forgotten nothing yet."""
    folder = tmp_path_factory.mktemp("device")
    monkeypatch.setenv("PFEDGE_STATE_DIR", str(folder / "state"))
    monkeypatch.setenv("PFEDGE_FLOOR_FILE", str(folder / "floor"))
    return folder / "state"


@pytest.fixture
def new_device(tmp_path_factory):
    """Make further devices."""
    from pfedge_runtime.device import DeviceState, FileFloor

    def make():
        folder = tmp_path_factory.mktemp("device")
        return DeviceState(folder / "state", FileFloor(folder / "floor"))

    return make


@pytest.fixture
def bundle_path(tmp_path):
    """A private copy of the golden bundle: 10 rows, 14 px, trained on digits."""
    return Path(shutil.copytree(GOLDEN / "bundle", tmp_path / "bundle"))


@pytest.fixture
def seal_bundle():
    """Seal the rows of a bundle as export does, and return the file of their keys, beside it."""
    from pfedge_runtime import Bundle
    from pfedge_runtime.bank import seal
    from pfedge_runtime.forgetting import write_keys

    def run(path):
        bundle = Bundle.open(path)
        sealed, keys = seal(bundle.bank())
        (path / "manifest.json").write_bytes(dataclasses.replace(bundle.manifest, sealed=True).to_bytes())
        (path / "bank.safetensors").write_bytes(sealed.to_bytes())
        file = path.with_name(f"{path.name}.keys.json")
        write_keys(file, bundle.manifest.model_id, keys)
        return file

    return run


@pytest.fixture(scope="session")
def golden():
    """Images uint8 [8, 14, 14, 3], their labels and the logits of the golden bundle's full bank."""
    with np.load(GOLDEN / "expected.npz") as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data; tests that need it are skipped, saying so, where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real data at {SHARED} (set PFEDGE_SHARED)")
    return SHARED / "data"


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory):
    """A ViT with random weights in Hugging Face layout: 2 blocks, 32 wide, 14 px, patch 7."""
    from support.backbones import write_tiny_vit

    return write_tiny_vit(tmp_path_factory.mktemp("backbone") / "vit")


@pytest.fixture(scope="session")
def coloured_npz(tmp_path_factory):
    """A learnable set in MedMNIST's layout: 4 classes told apart by colour; class 2 has no training image."""
    rng = np.random.default_rng(0)
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [190, 190, 40]])
    arrays = {}
    for split, count in (("train", 96), ("val", 40), ("test", 40)):
        labels = np.arange(count) % 4
        if split == "train":
            labels = np.where(labels == 2, 3, labels)
        noise = rng.normal(0, 20, (count, 14, 14, 3))
        arrays[f"{split}_images"] = np.clip(colours[labels][:, None, None] + noise, 0, 255).astype(np.uint8)
        arrays[f"{split}_labels"] = labels[:, None].astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "coloured.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory, tiny_vit, coloured_npz):
    """A finished run on `coloured_npz`: rows 0, 1 and 3. Tests must not change it."""
    from rich.console import Console

    from pfedge.guarantees import SharedConfig, train
    from pfedge.training import TrainSettings

    folder = tmp_path_factory.mktemp("run") / "run"
    config = SharedConfig(dataset=str(coloured_npz), model_name=str(tiny_vit), epochs=4, lr=5e-3, batch_size=16)
    return train(config, TrainSettings(out=folder, save_dir=folder), Console(quiet=True))[0]


@pytest.fixture(scope="session")
def tiny_ast(tmp_path_factory):
    """An audio transformer with random weights in Hugging Face layout: 2 blocks, 32 wide, 64 frames x 16 filters."""
    from support.backbones import write_tiny_ast

    return write_tiny_ast(tmp_path_factory.mktemp("backbone") / "ast")


@pytest.fixture
def cli(tmp_path):
    """Run `pfedge` as a user does: a process of its own, in an empty folder."""

    def run(*arguments, check=True, env=None, stdin=None, preexec_fn=None):
        outcome = subprocess.run(
            [sys.executable, "-m", "pfedge", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PFEDGE_BUNDLE": str(tmp_path / "bundle"), **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=preexec_fn,
        )
        if check and outcome.returncode:
            pytest.fail(f"pfedge {arguments} exited {outcome.returncode}: {outcome.stderr}")
        return outcome

    return run
