"""Golden artefacts of every released format: each later version must read them. Never regenerate a folder."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from pfedge_runtime import Bundle, Classifier, forget
from pfedge_runtime.device import Ledger
from pfedge_runtime.device.entry import ACTS
from pfedge_runtime.device.ledger import Tombstones
from pfedge_runtime.engines import OnnxRuntimeEngine, run_selftest
from pfedge_runtime.forgetting import adopt
from pfedge_runtime.receipts import Receipt
from pfedge_runtime.signing import PublicKey
from support.paths import FORMATS

VERSIONS = sorted(path.parent for path in FORMATS.rglob("bundle") if path.is_dir())


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda path: str(path.relative_to(FORMATS)))
def test_a_released_bundle_opens_predicts_forgets_and_passes_its_self_test(folder, tmp_path):
    path = shutil.copytree(folder / "bundle", tmp_path / "bundle")
    with np.load(folder / "expected.npz") as archive:
        images, expected = archive["images"], archive["logits"]
    if (folder / "keys.json").exists():
        adopt(Bundle.open(path, read_bank=False), folder / "keys.json")
    _, logits = Classifier.open(path).logits(images)
    assert np.allclose(logits, expected, rtol=1e-5, atol=1e-4)
    forget(path, ["3"])
    bundle = Bundle.open(path)
    assert 3 not in bundle.bank().class_ids
    assert run_selftest(bundle, OnnxRuntimeEngine(bundle.graph_path)).passed


DEVICES = sorted(FORMATS.glob("*/device"))


@pytest.mark.parametrize("folder", DEVICES, ids=lambda path: path.parent.name)
def test_a_released_ledger_and_receipt_verify(folder):
    key = PublicKey.load(folder / "device.pub")
    ledger = Ledger.read(folder / "ledger.jsonl", key)
    ledger.verify()
    assert [entry.act for entry in ledger.entries] == ["trust", "adopt", "forget", "forgotten", "refuse", "restore"]
    assert {entry.act for entry in ledger.entries} == set(ACTS)
    assert Tombstones.of(ledger).digests == {}
    receipt = Receipt.verify((folder / "golden.json").read_bytes(), [key])
    assert receipt == Receipt.of(ledger.find("golden", "forgotten"))
    assert [row.class_id for row in receipt.rows] == [3]


@pytest.mark.parametrize("folder", sorted(FORMATS.glob("*/sealed")), ids=lambda path: path.parent.name)
def test_a_released_signature_verifies(folder):
    key = PublicKey.load(folder / "signer.pub")
    assert Bundle.open(folder / "bundle", read_bank=False).require_signature([key]) == key.id
