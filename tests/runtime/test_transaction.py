from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from pfedge_runtime import Bundle, Classifier, PromptBank, forget, plan_forget
from pfedge_runtime.bank import RowKey
from pfedge_runtime.device import DeviceState
from pfedge_runtime.errors import (
    AlreadyForgottenError,
    LastRowError,
    StorageError,
    TombstoneError,
    UnknownClassError,
    UsageError,
)
from pfedge_runtime.forgetting import adopt, recover


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


def test_a_plan_changes_nothing(bundle_path):
    before = (bundle_path / "bank.safetensors").read_bytes()
    plan = plan_forget(Bundle.open(bundle_path), ["3"])
    assert plan.coverage == (0, 1, 2, 4, 5, 6, 7, 8, 9)
    assert (bundle_path / "bank.safetensors").read_bytes() == before
    outcome = forget(bundle_path, ["3"])
    assert dataclasses.replace(outcome, milliseconds=0.0, request="", receipt="") == plan
    json.dumps(outcome.to_json())


@pytest.mark.parametrize(
    ("classes", "error", "words"),
    [
        (["99"], UnknownClassError, "unknown class '99'"),
        (["nosuch"], UnknownClassError, "unknown class 'nosuch'"),
        ([str(i) for i in range(10)], LastRowError, "at least one row"),
        ([], UsageError, "name at least one class"),
    ],
)
def test_what_cannot_be_forgotten_changes_nothing(bundle_path, classes, error, words):
    before = (bundle_path / "bank.safetensors").read_bytes()
    with pytest.raises(error, match=words):
        forget(bundle_path, classes)
    assert (bundle_path / "bank.safetensors").read_bytes() == before


def test_forgetting_twice_is_an_error(bundle_path):
    forget(bundle_path, ["3"])
    with pytest.raises(AlreadyForgottenError, match=r"class 3 \(3\) is already forgotten"):
        forget(bundle_path, ["3"])
    with pytest.raises(AlreadyForgottenError):
        forget(bundle_path, ["5", "3"])
    assert 5 in Bundle.open(bundle_path).bank().class_ids


def test_the_last_row_stays(bundle_path):
    forget(bundle_path, [str(i) for i in range(9)])
    with pytest.raises(LastRowError):
        forget(bundle_path, ["9"])
    assert Bundle.open(bundle_path).bank().class_ids == (9,)


def test_a_class_that_never_had_a_row(bundle_path):
    bundle = Bundle.open(bundle_path)
    classes = tuple(
        dataclasses.replace(entry, row=None) if entry.id == 4 else entry for entry in bundle.manifest.classes
    )
    forget(bundle_path, ["4"])
    without = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, classes=classes))
    with pytest.raises(AlreadyForgottenError, match="never had a row"):
        plan_forget(without, ["4"])


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


def killed_after_the_decision(path, classes, monkeypatch):
    """Forget, and die once it is decided."""
    with monkeypatch.context() as patch:
        patch.setattr("pfedge_runtime.forgetting.transaction.destroy_keys", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            forget(path, classes, request="killed")


def test_a_forget_whose_bundle_was_moved_is_finished_where_it_is_now(bundle_path, tmp_path, monkeypatch):
    killed_after_the_decision(bundle_path, ["3"], monkeypatch)
    moved = bundle_path.rename(tmp_path / "moved")
    (problem,) = recover()
    assert "put the bundle back, or name it where it is now" in problem
    assert 3 not in Classifier.open(moved).bank.class_ids
    assert recover() == []
    assert (DeviceState.at().receipts / "killed.json").exists()


def test_keys_of_a_decided_forget_go_even_where_the_bundle_is_gone(bundle_path, seal_bundle, monkeypatch):
    keys = seal_bundle(bundle_path)
    adopt(Bundle.open(bundle_path, read_bank=False), keys)
    state, model_id = DeviceState.at(), Bundle.open(bundle_path).manifest.model_id
    killed_after_the_decision(bundle_path, ["3"], monkeypatch)
    shutil.rmtree(bundle_path)
    assert state.row_key_path(model_id, RowKey(3)).exists()
    recover()
    assert not state.row_key_path(model_id, RowKey(3)).exists()


def test_a_bundle_reached_through_a_link_is_the_same_bundle(bundle_path, tmp_path, monkeypatch):
    (tmp_path / "current").symlink_to(bundle_path)
    other = shutil.copytree(bundle_path, tmp_path / "other")
    killed_after_the_decision(tmp_path / "current", ["3"], monkeypatch)
    assert 3 not in Bundle.open(bundle_path).bank().class_ids
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to(other)
    recover()
    assert 3 not in Bundle.open(bundle_path).stored_bank().class_ids
    assert 3 in Bundle.open(other, read_bank=False).stored_bank().class_ids


def test_an_old_copy_loses_all_that_was_forgotten_before_with_the_next_forget(bundle_path, tmp_path):
    old = shutil.copytree(bundle_path, tmp_path / "old")
    forget(bundle_path, ["3"])
    forget(bundle_path, ["0"])
    outcome = forget(old, ["0"])
    assert outcome.also == ("class 3 (3)",)
    assert Bundle.open(old).bank().class_ids == Bundle.open(bundle_path).bank().class_ids


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


@pytest.mark.parametrize("request_id", ["patient Jane Doe", "-x", "x" * 65, "used"])
def test_a_plan_refuses_the_requests_that_a_forget_refuses(bundle_path, request_id):
    forget(bundle_path, ["0"], request="used")
    for act in (
        lambda **request: plan_forget(Bundle.open(bundle_path), ["3"], **request),
        lambda **request: forget(bundle_path, ["3"], **request),
    ):
        with pytest.raises(UsageError, match=r"a request id has|each forget has its own"):
            act(request=request_id)
    assert acts() == ["forget", "forgotten"]


@pytest.fixture
def twins(bundle_path):
    """A bundle whose classes 3 and 5 have one and the same row."""
    bundle = Bundle.open(bundle_path)
    bank = bundle.bank()
    parts = {name: getattr(bank, name).copy() for name in ("prompts", "head_weight", "head_bias", "threshold")}
    for part in parts.values():
        part[5] = part[3]
    bank = PromptBank(bank.class_ids, **parts)
    classes = tuple(dataclasses.replace(entry, row=bank.row_digest(entry.id)) for entry in bundle.manifest.classes)
    (bundle_path / "bank.safetensors").write_bytes(bank.to_bytes())
    (bundle_path / "manifest.json").write_bytes(dataclasses.replace(bundle.manifest, classes=classes).to_bytes())
    return bundle_path


@pytest.mark.parametrize(("one", "other"), [("3", "5"), ("5", "3")])
def test_a_row_with_a_twin_is_not_forgotten_without_it(twins, one, other):
    words = rf"the row of class {other} \({other}\) is that of class {one} .* forget both in one call \(--class {other}"
    with pytest.raises(UsageError, match=words):
        plan_forget(Bundle.open(twins), [one])
    with pytest.raises(UsageError, match=words):
        forget(twins, [one])
    assert acts() == []
    assert len(Bundle.open(twins).bank()) == 10


def test_twins_are_forgotten_together(twins):
    assert forget(twins, ["3", "5"]).coverage == (0, 1, 2, 4, 6, 7, 8, 9)
    assert Bundle.open(twins).bank().class_ids == (0, 1, 2, 4, 6, 7, 8, 9)
    forget(twins, ["4"])


def test_what_was_decided_of_another_model_does_not_keep_the_one_there_now_from_forgetting(
    bundle_path, tmp_path, monkeypatch
):
    other = Bundle.open(bundle_path).manifest
    old = shutil.copytree(bundle_path, tmp_path / "old")
    killed_after_the_decision(bundle_path, ["3"], monkeypatch)
    manifest = dataclasses.replace(other, model_id="b" * len(other.model_id)).to_bytes()
    (bundle_path / "manifest.json").write_bytes(manifest)
    assert forget(bundle_path, ["3", "5"]).coverage == (0, 1, 2, 4, 6, 7, 8, 9)
    (problem,) = recover()
    assert "is another model by now" in problem
    with pytest.raises(TombstoneError, match="its row 3 was forgotten"):
        Bundle.open(old)
