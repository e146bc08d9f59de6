"""The whole path on sounds, as a user goes it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from rich.console import Console

from pfedge.exporting import ExportSettings, export_run
from pfedge.guarantees import SharedConfig, train
from pfedge.training import TrainSettings
from pfedge_runtime import Bundle


def test_train_evaluate_export_forget_and_predict_sounds(cli, tiny_ast, tones, tmp_path):
    trained = json.loads(
        cli(
            "train", "--dataset", tones, "--data-type", "audio", "--model-name", tiny_ast, "--out", "run",
            "--epochs", 6, "--lr", 1e-2, "--batch-size", 6, "--json",
        ).stdout
    )  # fmt: skip
    assert trained["test_accuracy"] > 0.6
    assert json.loads(cli("eval", "run", "--json").stdout)["inputs"] == 12
    exported = json.loads(cli("export", "run", "--json").stdout)
    assert exported["parity"]["passed"]
    assert Bundle.open(tmp_path / "bundle").manifest.inputs["features"]["shape"] == ["B", 64, 16]
    assert "self-test  passed" in cli("inspect", "--selftest").stdout
    assert "0.66 s of sound at 16000 Hz, 64 frames x 16 mel filters" in cli("inspect").stdout

    cli("forget", "--class", "hz800", "--yes")
    lines = cli("predict", tones / "hz800", "--no-thresholds", "--json").stdout.splitlines()
    assert len(lines) == 20
    assert {json.loads(line)["name"] for line in lines} <= {"hz200", "hz3200"}
    measured = json.loads(cli("eval", "bundle", "--dataset", tones, "--json").stdout)
    assert [one["covered"] for one in measured["classes"]] == [True, True, False]


@pytest.fixture(scope="module")
def exported(tmp_path_factory, tiny_ast, tones):
    folder = tmp_path_factory.mktemp("sounds")
    config = SharedConfig(dataset=str(tones), model_name=str(tiny_ast), epochs=1)
    run, _ = train(config, TrainSettings(out=folder / "run", save_dir=folder / "run"), Console(quiet=True))
    return export_run(run, ExportSettings(out=folder / "bundle"))[0].path


def test_the_runtime_alone_predicts_sounds(exported, tones):
    program = (
        "import sys; from pathlib import Path; from pfedge_runtime import Classifier\n"
        "print(sum(1 for _ in Classifier.open(sys.argv[1]).predict_files([Path(sys.argv[2])])))\n"
        "assert not {'torch', 'transformers', 'pfedge', 'pfedge_export', 'onnx'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", program, str(exported), str(tones)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "60"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("text.wav", b"no sound", "cannot read the sound"),
        ("empty.ogg", b"", "cannot read the sound"),
    ],
)
def test_sounds_that_cannot_be_read_are_reported_and_left_out(cli, exported, tones, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    outcome = cli("predict", tmp_path / name, tones / "hz200" / "0.wav", "--bundle", exported, check=False)
    assert outcome.returncode == 1
    assert words in outcome.stderr
    assert len(outcome.stdout.splitlines()) == 1


def test_images_and_sounds_are_told_apart(cli, tiny_vit, tones):
    outcome = cli("train", "--dataset", tones, "--model-name", tiny_vit, "--out", "run", check=False)
    assert "tones is audio data" in outcome.stderr
    assert outcome.returncode == 1
    outcome = cli("train", "--dataset", tones, "--data-type", "image", check=False)
    assert "--data-type image does not fit" in outcome.stderr
    assert outcome.returncode == 2
