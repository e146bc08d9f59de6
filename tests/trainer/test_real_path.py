"""The whole path on real images with a real pretrained transformer, shortened to what CI can bear."""

from __future__ import annotations

import json

import pytest


@pytest.mark.slow
def test_blood_cells_on_a_pretrained_vit(cli, shared_data, shared_weights, tmp_path):
    blood = shared_data / "blood112"
    cli(
        "train", "--dataset", blood, "--model-name", shared_weights, "--out", "run", "--epochs", 1,
        "--train-limit", 128, "--eval-limit", 8,
    )  # fmt: skip
    exported = json.loads(cli("export", "run", "--parity-inputs", 24, "--json").stdout)
    assert exported["parity"]["passed"]
    image = min((blood / "test" / "3_ig").iterdir())
    before = json.loads(cli("predict", image, "--json").stdout)
    cli("forget", "--class", "ig", "--yes")
    after = json.loads(cli("predict", image, "--json").stdout)
    assert [row["class"] for row in before["rows"]] == list(range(8))
    assert [row["class"] for row in after["rows"]] == [0, 1, 2, 4, 5, 6, 7]
    assert "ig                                       forgotten" in cli("inspect", "--selftest").stdout


@pytest.mark.slow
def test_grey_ct_slices_with_a_class_without_images(cli, shared_data, tmp_path):
    shown = cli(
        "train", "--dataset", "organcmnist", "--data-root", shared_data / "medmnist", "--no-download",
        "--model-name", "builtin:micro", "--out", "run", "--epochs", 1, "--eval-limit", 8,
    )  # fmt: skip
    assert "class 3 (heart) has nothing to train on: it gets no row" in shown.stderr
    cli("export", "run", "--data-root", shared_data / "medmnist", "--no-download")
    lines = cli("predict", *sorted((shared_data / "dicom").glob("*.dcm"))).stdout.splitlines()
    assert len(lines) == 5
    outcome = cli("forget", "--class", "heart", "--yes", check=False)
    assert "never had a row" in outcome.stderr


@pytest.mark.slow
def test_octmnist_trained_on_its_val_split(cli, shared_data):
    cli(
        "train", "--dataset", "octmnist", "--data-root", shared_data / "medmnist", "--no-download",
        "--train-split", "val", "--model-name", "builtin:micro", "--out", "run", "--epochs", 1, "--eval-limit", 8,
    )  # fmt: skip
