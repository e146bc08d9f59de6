"""Attack: pull the plug in the middle of a forget.

Resisted: at whatever step of the durable write the process dies, the bank is whole, before or after, and the
bundle opens; the next forget removes what the dead one left behind.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from pfedge_runtime import Bundle, forget

# Kills itself (SIGKILL: nothing is cleaned up) at the n-th call of what a durable write does.
VICTIM = """
import os, signal, sys
from pathlib import Path
from pfedge_runtime import forget, storage
deadline, calls = int(sys.argv[2]), 0
def deadly(name, owner):
    real = getattr(owner, name)
    def call(*arguments, **keywords):
        global calls
        calls += 1
        if calls == deadline:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **keywords)
    setattr(owner, name, call)
for name, owner in (("mkstemp", storage.tempfile), ("fdopen", os), ("fsync", os), ("replace", Path), ("unlink", Path)):
    deadly(name, owner)
forget(sys.argv[1], ["3"])
print(calls)
"""


def run_victim(path, deadline):
    return subprocess.run(
        [sys.executable, "-c", VICTIM, path, str(deadline)], capture_output=True, text=True, check=False
    )


def test_killed_at_every_step_the_bank_is_before_or_after(bundle_path, tmp_path):
    import shutil

    steps = int(run_victim(shutil.copytree(bundle_path, tmp_path / "count"), 10**9).stdout)
    assert steps >= 5
    outcomes = set()
    for deadline in range(1, steps + 1):
        path = shutil.copytree(bundle_path, tmp_path / str(deadline))
        assert run_victim(path, deadline).returncode == -9
        bank = Bundle.open(path).bank()
        outcomes.add(len(bank))
        if 3 in bank.class_ids:
            forget(path, ["3"])
        forget(path, ["5"])
        assert Bundle.open(path).bank().class_ids == (0, 1, 2, 4, 6, 7, 8, 9)
        assert sorted(file.name for file in path.iterdir() if file.suffix == ".tmp") == []
    assert outcomes == {9, 10}


@pytest.mark.parametrize("leftover", [b"", b"half a bank"])
def test_a_half_written_bank_is_never_read(bundle_path, leftover):
    (bundle_path / ".bank.safetensors.xyz.tmp").write_bytes(leftover)
    assert len(Bundle.open(bundle_path).bank()) == 10
