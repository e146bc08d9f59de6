from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from pfedge_runtime import Bundle, PromptBank, forget, plan_forget
from pfedge_runtime.device import DeviceState
from pfedge_runtime.errors import (
    AlreadyForgottenError,
    LastRowError,
    UnknownClassError,
    UsageError,
)


def acts():
    return [entry.act for entry in DeviceState.at().ledger().entries]


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


def test_an_old_copy_loses_all_that_was_forgotten_before_with_the_next_forget(bundle_path, tmp_path):
    old = shutil.copytree(bundle_path, tmp_path / "old")
    forget(bundle_path, ["3"])
    forget(bundle_path, ["0"])
    outcome = forget(old, ["0"])
    assert outcome.also == ("class 3 (3)",)
    assert Bundle.open(old).bank().class_ids == Bundle.open(bundle_path).bank().class_ids


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
