from __future__ import annotations

import dataclasses
import shutil

import pytest

from pfedge_runtime import Bundle, Classifier, forget
from pfedge_runtime.bank import RowKey
from pfedge_runtime.device import DeviceState
from pfedge_runtime.errors import (
    TombstoneError,
)
from pfedge_runtime.forgetting import adopt, recover


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
