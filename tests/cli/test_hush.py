from __future__ import annotations

import os
import subprocess
import sys

import pytest

WARNING = """
import logging, runpy, sys, warnings
import pfedge.cli.device.inspect as verb

opened = verb.finish_decided

def noisy(*arguments):
    warnings.warn("this goes away in version 2", FutureWarning)
    warnings.warn("made of C", DeprecationWarning)
    logging.getLogger("pydicom").warning("a tag is odd")
    return opened(*arguments)

verb.finish_decided = noisy
sys.argv = ["pfedge", "inspect", "--bundle", sys.argv[1]]
runpy.run_module("pfedge", run_name="__main__")
"""


def noisy(bundle, *options, **environment):
    command = [sys.executable, *options, "-c", WARNING, bundle]
    return subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.mark.parametrize("options", [[], ["-W", "error"], ["-W", "always"]])
def test_warnings_of_libraries_neither_show_nor_end_the_run(bundle_path, options):
    done = noisy(bundle_path, *options, PFEDGE_QUIET="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "files      all match" in done.stdout


def test_who_debugs_sees_them(bundle_path):
    done = noisy(bundle_path, PFEDGE_DEBUG="1")
    assert done.returncode == 0
    for said in ("this goes away in version 2", "debug: pydicom: a tag is odd"):
        assert said in done.stderr


VERBS = {
    "inspect": ["inspect", "--bundle", "{bundle}"],
    "openvino": ["verify", "{bundle}", "--selftest", "--device", "openvino"],
    "verify": ["verify", "{bundle}", "--selftest"],
    "forget": ["forget", "--class", "3", "--bundle", "{bundle}", "--yes", "--sweep", "{folder}"],
    "adopt": ["adopt", "--bundle", "{bundle}"],
    "keygen": ["keygen", "{folder}/key.pem"],
    "ledger": ["ledger", "show"],
    "help": ["--help"],
    "bench": ["bench", "{bundle}", "--seconds", "0", "--batch", "1"],
}


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_runs_where_warnings_are_errors(bundle_path, tmp_path, verb):
    arguments = [part.format(bundle=bundle_path, folder=tmp_path) for part in VERBS[verb]]
    command = [sys.executable, "-W", "error", "-m", "pfedge", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.slow
def test_training_and_exporting_run_where_warnings_are_errors(tmp_path):
    """Libraries below warn of each other all the time."""
    steps = (
        "train --dataset digits --model-name builtin:micro --guarantee exact --train-limit 100 --out run",
        "export run --out bundle",
    )
    for step in steps:
        command = [sys.executable, "-W", "error", "-m", "pfedge", *step.split()]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr
