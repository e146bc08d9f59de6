"""What `pfedge predict` and `pfedge forget` open, counted in the process that runs them: everything is read once.

Python's audit hook sees what Python opens. ONNX Runtime opens the graph a second time, by itself: given the bytes that
were hashed, it takes 294 MiB at its peak where it takes 150 given the path (a graph of 80 MiB, ONNX Runtime 1.32).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from PIL import Image

from pfedge_runtime import forget

COUNTED = """
import atexit, json, os, sys
seen = []
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        writes = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
        seen.append([os.path.realpath(os.fsdecode(arguments[0])), "write" if writes else "read"])
sys.addaudithook(hook)
log = sys.argv.pop(1)
atexit.register(lambda: os.write(os.open(log, os.O_WRONLY | os.O_CREAT), json.dumps(seen).encode()))
from pfedge.cli.app import main
main()
"""
IMMUTABLE = ("manifest.json", "graph.onnx", "selftest.npz")


@pytest.fixture
def opened(bundle_path, golden, tmp_path, device_state):
    """Run `pfedge`, and count what it opened: ("graph.onnx", "read") -> times."""
    Image.fromarray(golden["images"][0]).save(tmp_path / "image.png")
    names = {bundle_path / name: name for name in (*IMMUTABLE, "bank.safetensors")}
    names |= {device_state / name: name for name in ("ledger.jsonl", "device.pem", "device.pub")}
    names |= {device_state.with_name("floor"): "floor"}
    known = {os.path.realpath(path): name for path, name in names.items()}

    def run(*arguments):
        log = tmp_path / "opened.json"
        log.unlink(missing_ok=True)
        command = [sys.executable, "-c", COUNTED, log, *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        return Counter((known[path], how) for path, how in json.loads(log.read_text()) if path in known)

    return run


def times(opened, name):
    return opened[name, "read"], opened[name, "write"]


def test_predict_opens_each_file_of_the_bundle_once(opened, bundle_path):
    forget(bundle_path, ["3"])  # a device that has a ledger
    found = opened("predict", "image.png", "--bundle", str(bundle_path))
    assert {name: times(found, name) for name in (*IMMUTABLE, "bank.safetensors")} == dict.fromkeys(
        (*IMMUTABLE, "bank.safetensors"), (1, 0)
    )
    assert times(found, "ledger.jsonl") == (1, 0)
    assert times(found, "floor") == (2, 0)  # once to finish what was killed, once for the bank


def test_predict_without_a_ledger_reads_no_state(opened, bundle_path):
    found = opened("predict", "image.png", "--bundle", str(bundle_path))
    assert set(found) == {(name, "read") for name in (*IMMUTABLE, "bank.safetensors")}
    assert set(found.values()) == {1}


def test_forget_hashes_each_immutable_file_once_and_plans_once(opened, bundle_path):
    forget(bundle_path, ["3"])
    found = opened("forget", "--class", "5", "--yes", "--bundle", str(bundle_path))
    assert {name: times(found, name) for name in IMMUTABLE} == dict.fromkeys(IMMUTABLE, (1, 0))
    assert times(found, "bank.safetensors") == (1, 1)  # read for the plan, overwritten at the end
    assert times(found, "ledger.jsonl") == (1, 2)  # the decision and the end are appended
    assert times(found, "device.pem") == (1, 0)
    assert times(found, "device.pub") == (1, 0)
    # to finish what was killed, for the plan, under the lock, and before it is raised
    assert times(found, "floor") == (4, 0)
