"""The scripts of `benchmarks/` that can run in seconds, and the page they make."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys

import pytest

from support.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = sorted(file for folder in ("benchmarks", "scripts") for file in (ROOT / folder).rglob("*.py"))


def run(script, *arguments, cwd):
    return subprocess.run(
        [sys.executable, BENCHMARKS / script, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_script_imports_what_there_is(script, monkeypatch):
    """As `python SCRIPT` would, up to what it does when it is run."""
    monkeypatch.syspath_prepend(str(script.parent))
    runpy.run_path(str(script), run_name="imported")


def test_without_a_gpu_nothing_is_claimed(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU: make gpu")
    done = run("speed/gpu.py", "bundle", "--out", tmp_path / "gpu.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (
        0,
        "no GPU: torch sees none, so nothing was run and nothing was written\n",
    )
    assert not (tmp_path / "gpu.json").exists()


@pytest.mark.slow
def test_forgetting_is_measured_on_this_disk(tmp_path, tiny_run):
    done = run("speed/forgetting.py", tiny_run.folder, "--out", tmp_path / "f.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "f.json").read_text())
    assert set(result["dropping"]) == {"8", "1000"}
    assert 0 < result["alternatives"]["dampened share"] < 1
    assert [file.name for file in tmp_path.iterdir()] == ["f.json"]


def test_the_page_says_what_the_results_say():
    """docs/performance.md is made by a command; nobody edits it by hand."""
    sys.path.insert(0, str(BENCHMARKS / "tables"))
    try:
        import performance
    finally:
        sys.path.remove(str(BENCHMARKS / "tables"))
    assert performance.page() == (BENCHMARKS.parent / "docs" / "performance.md").read_text()
