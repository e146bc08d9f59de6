"""`--frame` and `--max-pixels` as a user meets them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def stack(tmp_path):
    """A TIFF of two pages, and beside it an ordinary image."""
    folder = tmp_path / "images"
    folder.mkdir()
    pages = [Image.new("L", (14, 14), value) for value in (0, 255)]
    pages[0].save(folder / "stack.tif", save_all=True, append_images=pages[1:])
    pages[1].save(folder / "white.png")
    return folder / "stack.tif"


def test_several_frames_are_refused_and_the_others_predicted(cli, bundle_path, stack):
    outcome = cli("predict", stack.parent, check=False)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith(f"error: {stack} has 2 frames: predict with --frame N (1 to 2) takes one")
    assert outcome.stderr.count("\n") == 2  # and the summary
    assert [line.split("\t")[0] for line in outcome.stdout.splitlines()] == [str(stack.parent / "white.png")]


def test_all_frames_are_predicted_each_under_its_number(cli, bundle_path, stack):
    lines = [json.loads(line) for line in cli("predict", stack.parent, "--frame", "all", "--json").stdout.splitlines()]
    assert [line["source"] for line in lines] == [f"{stack}#1", f"{stack}#2", f"{stack.parent / 'white.png'}#1"]
    scores = [[row["score"] for row in line["rows"]] for line in lines]
    assert scores[1] != pytest.approx(scores[0])
    assert scores[1] == pytest.approx(scores[2])
    one = json.loads(cli("predict", stack, "--frame", "2", "--json").stdout)
    assert one["source"] == lines[1]["source"]
    assert [row["score"] for row in one["rows"]] == pytest.approx(scores[1], rel=1e-4)


@pytest.mark.parametrize("frame", ["0", "-1", "first", "1.5", ""])
def test_a_frame_that_is_no_number_is_a_usage_error(cli, bundle_path, stack, frame):
    outcome = cli("predict", stack, f"--frame={frame}", check=False)
    assert outcome.returncode == 2
    assert outcome.stderr == f"error: --frame takes a number from 1, or all; got {frame!r}\n"


@pytest.mark.parametrize("verb", ["predict", "eval", "train"])
def test_each_verb_that_reads_images_takes_their_limit(cli, bundle_path, tmp_path, verb):
    noise = np.random.default_rng(0).integers(0, 256, (6, 14, 14, 3), dtype=np.uint8)
    for split in ("train", "test"):
        for name in "0123456789":
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for i, image in enumerate(noise):
                Image.fromarray(image).save(tmp_path / "data" / split / name / f"{i}.png")
    data = tmp_path / "data"
    arguments = {
        "predict": (data / "test" / "1" / "0.png",),
        "eval": (bundle_path, "--dataset", data),
        "train": ("--dataset", data, "--model-name", "builtin:micro", "--out", tmp_path / "run"),
    }[verb]
    outcome = cli(verb, *arguments, "--max-pixels", "195", check=False)
    assert outcome.returncode == 1
    assert "14 x 14 pixels exceeds limit of 195; --max-pixels 196 allows it" in outcome.stderr
    assert "Traceback" not in outcome.stderr
