"""The bundle in both forms, what predict leaves out, lists of classes, and classes by name."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image


def pictures(root, names=("cat", "dog")):
    for split in ("train", "valid", "test"):
        for value, name in enumerate(names):
            (root / split / name).mkdir(parents=True)
            for index in range(3):
                Image.new("RGB", (16, 16), (value * 100, 40 * index, 0)).save(root / split / name / f"{index}.png")
    return root


@pytest.mark.parametrize("verb", [["inspect"], ["verify"], ["adopt"], ["forget", "--class", "3", "--dry-run"]])
def test_the_bundle_is_an_argument_or_an_option(cli, bundle_path, tmp_path, verb):
    shutil.move(bundle_path, tmp_path / "elsewhere")
    as_option, as_argument = cli(*verb, "--bundle", "elsewhere").stdout, cli(*verb, "elsewhere").stdout
    assert as_option == as_argument
    assert cli(*verb, "elsewhere", "--bundle", "elsewhere", env={"PFEDGE_BUNDLE": "nowhere"}).stdout == as_option
    assert cli(*verb, env={"PFEDGE_BUNDLE": "elsewhere"}).stdout == as_option


@pytest.mark.parametrize("verb", ["inspect", "verify", "adopt", "bench", "forget"])
def test_two_bundles_are_refused(fails, verb):
    assert "two bundles are given, a and --bundle b" in fails(verb, "a", "--bundle", "b", code=2)


def test_predict_says_what_it_left_out(cli, bundle_path, tmp_path):
    scans = tmp_path / "scans"
    (scans / ".ipynb_checkpoints").mkdir(parents=True)
    for name in ("a", ".ipynb_checkpoints/b.png"):
        Image.new("L", (8, 8), 128).save(scans / name, format="PNG")
    (scans / "notes.txt").write_text("words")
    outcome = cli("predict", "scans", "--bundle", bundle_path)
    assert outcome.stdout.count("\n") == 1
    assert "2 files left out: 1 .txt, 1 of other programs (.ipynb_checkpoints)" in outcome.stderr


def test_a_class_is_restored_by_name(cli, fails, receipt, tmp_path):
    cli("authorize", receipt, "--key", "boss.pem", "--device", "device.pub", "--out", "restore.json")
    assert "not class seven" in fails("restore", "--class", "seven", "--authority", "restore.json", code=2)
    assert "is undone: class 3 (3)" in cli("restore", "--class", "3", "--authority", "restore.json").stdout


def test_a_list_of_classes_goes_from_training_to_evaluation(cli, fails, tmp_path):
    pictures(tmp_path / "pets")
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    (tmp_path / "other.txt").write_text("cat\ndog\n")
    (tmp_path / "pets" / "train" / "cat" / "9.png").write_bytes(b"")
    train = ["train", "--dataset", "pets", "--model-name", "builtin:micro", "--guarantee", "exact", "--out", "run"]
    train += ["--embedding-dim", "16", "--classes", "classes.txt"]
    assert "--skip-unreadable" in cli(*train, check=False).stderr
    said = cli(*train, "--skip-unreadable", "--val-limit", "5", "--test-limit", "5").stderr
    assert "valid is taken for val" in said
    assert json.loads((tmp_path / "run" / "config.json").read_text())["classes"] == ["dog", "cat"]
    cli("eval", "run", "--device", "cpu")
    refused = cli("eval", "run", "--classes", "other.txt", check=False)
    assert "class 0 is 'dog', and 'cat' there" in refused.stderr
    cli("export", "run", "--parity-inputs", "4")
    assert "class 0 is 'dog', and 'cat' there" in cli("eval", "bundle", "--dataset", "pets", check=False).stderr
    cli("eval", "bundle", "--dataset", "pets", "--classes", "classes.txt")
    assert " dog " in cli("inspect", "bundle").stdout
