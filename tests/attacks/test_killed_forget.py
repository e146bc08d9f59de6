"""Attack: pull the plug in the middle of a forget, fill its disk, or take its right to write.

Resisted: before and after every system call that a forget makes on the disk, and that its recovery makes, the bank is
whole and the ledger verifies; what was decided binds and is finished by the next start, what was not is undone.
"""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from pfedge_runtime import Bundle, Classifier, forget
from pfedge_runtime.device import DeviceState
from pfedge_runtime.errors import StorageError
from pfedge_runtime.forgetting import recover

CRASH = Path(__file__).with_name("crash.py")


def crash(*arguments):
    done = subprocess.run([sys.executable, CRASH, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["every", "full"])
def test_interrupted_at_every_call_a_forget_is_wholly_done_or_not_at_all(bundle_path, tmp_path, how):
    tried = crash(how, bundle_path, tmp_path / "cases")
    assert tried["forget"] > 40
    assert tried["recovery"] > 500
    assert 0 < tried["decided"] < tried["forget"]


@pytest.mark.slow
def test_a_thousand_kills_at_random_instants(bundle_path, tmp_path):
    tried = crash("random", bundle_path, tmp_path / "cases", 1000)
    assert tried["kills"] == 1000
    assert tried["recoveries killed"] > 10


@pytest.mark.parametrize("leftover", [b"", b"half a bank"])
def test_a_half_written_bank_is_never_read(bundle_path, leftover):
    (bundle_path / ".bank.safetensors.xyz.tmp").write_bytes(leftover)
    assert len(Bundle.open(bundle_path).bank()) == 10


@contextmanager
def small_disk(folder, kilobytes):
    """A file system of its own."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", folder]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no right to mount a small disk: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder):
    """Leave no room."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def test_a_really_full_disk_loses_nothing(bundle_path, tmp_path, monkeypatch):
    with small_disk(tmp_path / "disk", 1024) as disk:
        path = shutil.copytree(bundle_path, disk / "bundle")
        monkeypatch.setenv("PFEDGE_STATE_DIR", str(disk / "state"))
        before = (path / "bank.safetensors").read_bytes()
        fill(disk)
        with pytest.raises(StorageError, match="No space left on device"):
            forget(path, ["3"])
        assert (path / "bank.safetensors").read_bytes() == before
        assert 3 in Bundle.open(path).bank().class_ids
        (disk / "filler").unlink()
        forget(path, ["3"])
        assert 3 not in Bundle.open(path).bank().class_ids


def test_a_disk_that_fills_up_once_it_is_decided_binds_all_the_same(bundle_path, monkeypatch):
    def full(*_):
        raise StorageError(errno.ENOSPC)

    with monkeypatch.context() as patch:
        patch.setattr("pfedge_runtime.forgetting.transaction.replace_erasing", full)
        with pytest.raises(StorageError, match="28"):
            forget(bundle_path, ["3"])
    assert 3 in Bundle.open(bundle_path).stored_bank().class_ids
    assert 3 not in Classifier.open(bundle_path).bank.class_ids  # which finishes it first
    assert 3 not in Bundle.open(bundle_path).stored_bank().class_ids


def test_a_read_only_bundle_is_left_alone(bundle_path, tmp_path):
    with small_disk(tmp_path / "disk", 1024) as disk:
        path = shutil.copytree(bundle_path, disk / "bundle")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(StorageError, match="Read-only file system"):
            forget(path, ["3"])
        assert not [entry for entry in DeviceState.at().ledger().entries if entry.act == "forget"]
        assert 3 in Classifier.open(path).bank.class_ids


def test_what_is_decided_binds_even_where_it_cannot_be_finished(bundle_path, tmp_path, monkeypatch):
    with small_disk(tmp_path / "disk", 1024) as disk:
        path = shutil.copytree(bundle_path, disk / "bundle")
        with monkeypatch.context() as patch:
            patch.setattr("pfedge_runtime.forgetting.transaction.replace_erasing", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                forget(path, ["3"])
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        (problem,) = recover()
        assert "forgetting class 3 (3) is decided" in problem
        assert "Read-only file system" in problem
        assert 3 not in Classifier.open(path).bank.class_ids
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        assert recover() == []
        assert 3 not in Bundle.open(path).stored_bank().class_ids
