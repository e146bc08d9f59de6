from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pfedge_runtime import Bundle, Classifier, forget
from pfedge_runtime.device import DeviceState
from pfedge_runtime.errors import (
    AlreadyForgottenError,
    BankError,
    StorageError,
    UnknownClassError,
    UsageError,
)
from pfedge_runtime.forgetting import transaction


def files_but_bank(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.name not in {"bank.safetensors", ".lock"}}


def test_the_row_is_gone_and_everything_else_is_as_it_was(bundle_path, golden):
    bank = Bundle.open(bundle_path).bank()
    before = files_but_bank(bundle_path)
    outcome = forget(bundle_path, ["3"])
    assert outcome.coverage == (0, 1, 2, 4, 5, 6, 7, 8, 9)
    assert files_but_bank(bundle_path) == before
    after = Bundle.open(bundle_path).bank()
    assert after.digest() == outcome.bank_after == bank.drop({3}).digest()
    assert outcome.milliseconds > 0
    for file in bundle_path.iterdir():
        for part in ("prompts", "head_weight"):
            assert bank.row(3)[part].tobytes() not in file.read_bytes()
    assert all(3 not in prediction.coverage for prediction in Classifier.open(bundle_path).predict(golden["images"]))


def test_several_classes_at_once_equal_one_after_the_other(bundle_path, tmp_path, new_device):
    other = shutil.copytree(bundle_path, tmp_path / "other")
    forget(bundle_path, ["7", "2", "7"])
    elsewhere = new_device()
    forget(other, ["7"], state=elsewhere)
    forget(other, ["2"], state=elsewhere)
    assert Bundle.open(bundle_path).bank().class_ids == (0, 1, 3, 4, 5, 6, 8, 9)
    assert (bundle_path / "bank.safetensors").read_bytes() == (other / "bank.safetensors").read_bytes()


def test_a_linked_bank_is_refused_because_the_row_would_survive_in_its_target(bundle_path, tmp_path):
    target = (bundle_path / "bank.safetensors").rename(tmp_path / "store")
    (bundle_path / "bank.safetensors").symlink_to(target)
    with pytest.raises(StorageError, match="rows would survive"):
        forget(bundle_path, ["3"])
    assert 3 in Bundle.open(bundle_path).bank().class_ids


def test_a_full_disk_loses_nothing(bundle_path, monkeypatch, golden):
    import errno

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = (bundle_path / "bank.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            forget(bundle_path, ["3"])
    assert (bundle_path / "bank.safetensors").read_bytes() == before
    assert [file.name for file in bundle_path.glob(".*.tmp")] == []
    forget(bundle_path, ["3"])


def test_two_processes_at_once_both_forget(bundle_path):
    """Without a lock the slower writer would bring the faster one's class back."""
    script = "import sys; from pfedge_runtime import forget; forget(sys.argv[1], [sys.argv[2]])"
    workers = [subprocess.Popen([sys.executable, "-c", script, bundle_path, str(i)]) for i in range(4)]
    assert [worker.wait() for worker in workers] == [0] * 4
    assert Bundle.open(bundle_path).bank().class_ids == (4, 5, 6, 7, 8, 9)


def test_the_retained_logits_are_those_of_a_bank_that_never_had_the_row(bundle_path, golden):
    classifier = Classifier.open(bundle_path)
    bank = classifier.bank
    forget(bundle_path, ["3"])
    _, logits = classifier.logits(golden["images"])
    expected = classifier._engine.run(golden["images"], bank.drop({3})).logits
    assert np.array_equal(logits, expected)


def acts():
    return [entry.act for entry in DeviceState.at().ledger().entries]


def test_a_bank_that_may_not_be_written_is_noticed_before_anything_is_decided(bundle_path, monkeypatch):
    (bundle_path / "bank.safetensors").chmod(0o444)
    with monkeypatch.context() as patch:
        if os.geteuid() == 0:  # whom modes do not bind
            patch.setattr(os, "access", lambda *_, **__: False)
        with pytest.raises(StorageError, match="Permission denied; what was there is unchanged"):
            forget(bundle_path, ["3"])
    assert acts() == []
    assert 3 in Bundle.open(bundle_path).bank().class_ids


def test_an_opened_bundle_is_forgotten_from_and_its_files_are_not_checked_again(bundle_path):
    bundle = Bundle.open(bundle_path, read_bank=False)
    graph = (bundle_path / "graph.onnx").read_bytes()
    (bundle_path / "graph.onnx").write_bytes(b"")
    assert forget(bundle, ["3"]).coverage == (0, 1, 2, 4, 5, 6, 7, 8, 9)
    (bundle_path / "graph.onnx").write_bytes(graph)
    assert 3 not in Bundle.open(bundle_path).bank().class_ids


@pytest.mark.parametrize("outcome", ["bank smaller", "row gone", "request used"])
def test_what_changed_before_the_locks_were_held_is_planned_anew(bundle_path, monkeypatch, outcome):
    early = transaction._plan_early
    meanwhile = "3" if outcome == "row gone" else "5"

    def overtaken(*arguments):
        plan = early(*arguments)
        with monkeypatch.context() as patch:
            patch.setattr(transaction, "_plan_early", early)
            forget(bundle_path, [meanwhile], request="used")
        return plan

    monkeypatch.setattr(transaction, "_plan_early", overtaken)
    if outcome == "bank smaller":
        assert forget(bundle_path, ["3"]).coverage == (0, 1, 2, 4, 6, 7, 8, 9)
        assert Bundle.open(bundle_path).bank().class_ids == (0, 1, 2, 4, 6, 7, 8, 9)
        return
    error, request = (AlreadyForgottenError, "") if outcome == "row gone" else (UsageError, "used")
    with pytest.raises(error):
        forget(bundle_path, ["3"], request=request)
    assert len(Bundle.open(bundle_path).bank()) == 9


def test_a_bank_that_is_being_replaced_while_it_is_planned_is_read_again_under_the_locks(bundle_path, monkeypatch):
    read = Bundle.stored_bank
    reads = []

    def torn_once(bundle):
        reads.append(bundle)
        if len(reads) == 1:
            message = "torn"
            raise BankError(message)
        return read(bundle)

    monkeypatch.setattr(Bundle, "stored_bank", torn_once)
    assert 3 not in forget(bundle_path, ["3"]).coverage
    assert len(reads) == 2


def test_what_cannot_be_forgotten_makes_no_state(bundle_path, device_state):
    with pytest.raises(UnknownClassError):
        forget(bundle_path, ["no such class"])
    assert not device_state.exists()
