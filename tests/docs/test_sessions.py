"""Every block of a page that is not marked otherwise runs, and prints what the page says, but for its figures."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from support.pages import ROOT, all_pages, blocks

SESSIONS = [
    page for page in all_pages() if any(one.kind in {"console", "python"} and not one.not_run for one in blocks(page))
]
README = ROOT / "README.md"
# what differs between machines and days; digits that stand alone are class ids and counts, and must agree
VARYING = {
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ": "<time>",
    r"(?<![\w.])[0-9a-f]{8,}\b(\.\.\.)?": "<digest>",
    r"\d+(\.\d+)?(e[-+]\d+)|\d+\.\d+|\d{2,}": "<number>",
    r"[ \t]+": " ",
    r" $": "",
}


def normalised(text, home=""):
    """Return a text without what may vary."""
    text = text.replace(str(home), "~") if home else text
    for pattern, name in VARYING.items():
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text.strip()


def fits(printed, expected, home):
    """Whether an output has the shape that the page shows."""
    parts = [re.escape(part) for part in normalised(expected).split("...")]
    return re.fullmatch(".*".join(parts), normalised(printed, home), flags=re.DOTALL) is not None


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """What a reader of the README has: `demo/a_3.png`, and its run and bundle before anything is forgotten."""
    from rich.console import Console

    from pfedge.data import load_dataset
    from pfedge.exporting import ExportSettings, export_run
    from pfedge.guarantees import ExactConfig, train
    from pfedge.training import TrainSettings

    folder = tmp_path_factory.mktemp("digits")
    config = ExactConfig(dataset="digits", model_name="builtin:micro")
    run, _ = train(config, TrainSettings(out=folder / "run", save_dir=folder / "run"), Console(quiet=True))
    bundle, _ = export_run(run, ExportSettings(out=folder / "bundle"), on_progress=lambda _: None)
    test = load_dataset("digits", image_size=28).test
    three = test.batch(np.flatnonzero(test.labels == 3)[:1], bundle.manifest.preprocess)[0]
    (folder / "demo").mkdir()
    Image.fromarray(three).save(folder / "demo" / "a_3.png")
    return folder


class Session:
    """A shell in a folder of its own, in which `pfedge` and `python` are those under test."""

    def __init__(self, home):
        self.home = home
        programs = home.parent / f"{home.name}.bin"
        programs.mkdir()
        for name, command in (("pfedge", f"{sys.executable} -m pfedge"), ("python", sys.executable)):
            (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (programs / name).chmod(0o755)
        # an interpreter started in `home` must find the packages where this one does
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry and os.path.isdir(entry))  # noqa: PTH100, PTH112
        self.environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": path}
        self.environment.pop("PFEDGE_BUNDLE", None)

    def run(self, line):
        """Run a line of the page; `export` lasts."""
        if line.startswith("export "):
            words = line.replace("$PWD", str(self.home)).split()[1:]
            self.environment |= dict(word.split("=", 1) for word in words)
            return 0, ""
        outcome = subprocess.run(
            ["bash", "-c", line],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return outcome.returncode, outcome.stdout


@pytest.mark.slow
@pytest.mark.parametrize("page", SESSIONS, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_a_session_that_runs(page, digits, tmp_path, device_state):
    home = tmp_path / "home"
    home.mkdir()
    shutil.copytree(digits / "demo", home / "demo")
    if page != README:  # which makes them itself
        shutil.copytree(digits / "run", home / "run")
        shutil.copytree(digits / "bundle", home / "bundle")
    session = Session(home)
    for block in blocks(page):
        if block.not_run or block.kind not in {"console", "python"}:
            continue
        if block.kind == "python":
            (home / "snippet.py").write_text(block.body)
            code, printed = session.run("python snippet.py")
            assert code == 0, f"{block.body}\n{printed}"
            continue
        for command in block.commands():
            code, printed = session.run(command.line)
            assert code == command.exit_code, f"$ {command.line}\n{printed}"
            assert not command.expected or fits(printed, command.expected, home), (
                f"$ {command.line}\nthe page says:\n{command.expected}\nit printed:\n{printed}"
            )


def test_shapes_are_told_apart():
    assert fits("accuracy 0.96\nrun /home/x/run", "accuracy 0.91\n...run", "/home/x")
    assert fits("forgot class 3 in 90.1 ms", "forgot class 3 in 7 ms", "") is False
    assert not fits("forgot class 4 in 90.1 ms", "forgot class 3 in 12.1 ms", "")
    assert fits("key deadbeef00\n", "key 0123456789\n", "")
    assert not fits("9 classes are left\nand more", "9 classes are left", "")
