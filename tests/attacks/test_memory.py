"""Attack: read a forgotten row out of the memory of the process that forgot it, or out of the device's files.

Resisted: no 64-byte window of the row, at any multiple of 4 bytes, is left in the memory maps of a process that forgot,
nor of one that predicted before and after; the same search finds every window before.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import GOLDEN

MEMORY = Path(__file__).with_name("memory.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="memory is read through /proc"),
]


def search(path, how):
    done = subprocess.run([sys.executable, MEMORY, path, how], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("how", ["forget", "classifier"])
@pytest.mark.parametrize("golden_bundle", ["bundle", "isolated/bundle", "exact/bundle"])
def test_the_row_is_in_memory_before_and_not_after(golden_bundle, how, tmp_path):
    outcome = search(shutil.copytree(GOLDEN / golden_bundle, tmp_path / "bundle"), how)
    assert outcome["before"]["found"] == outcome["before"]["of"] > 0
    assert outcome["after"]["found"] == 0, outcome["after"]["places"]
