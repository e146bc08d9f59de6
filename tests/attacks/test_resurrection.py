"""Attack: bring a forgotten row back.

Resisted: a row of another model, an edited row, a row under another class id, the bundle's own old bank or a whole old
bundle copied back, the row in another bundle, an old state folder copied back with it.
"""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from pfedge_runtime import Bundle, PromptBank, forget
from pfedge_runtime.errors import BankError, TombstoneError


def graft(bank, class_id, row):
    """Return `bank` with one more row."""
    order = np.argsort([*bank.class_ids, class_id])
    parts = {}
    for part, value in row.items():
        grown = np.concatenate([getattr(bank, part), np.asarray(value)[None]])
        parts[part] = grown[order].astype(np.float32)
    return PromptBank(class_ids=tuple(sorted([*bank.class_ids, class_id])), **parts)


def test_a_made_up_row_is_refused(bundle_path):
    original = Bundle.open(bundle_path).bank()
    forget(bundle_path, ["3"])
    bank = Bundle.open(bundle_path).bank()
    close = {part: value + np.float32(1e-6) for part, value in original.row(3).items()}
    (bundle_path / "bank.safetensors").write_bytes(graft(bank, 3, close).to_bytes())
    with pytest.raises(BankError, match="row 3 is not the one that was exported"):
        Bundle.open(bundle_path)


def test_a_forgotten_row_under_another_id_is_refused(bundle_path):
    original = Bundle.open(bundle_path).bank()
    forget(bundle_path, ["3", "7"])
    bank = Bundle.open(bundle_path).bank()
    (bundle_path / "bank.safetensors").write_bytes(graft(bank, 7, original.row(3)).to_bytes())
    with pytest.raises(BankError, match="row 7"):
        Bundle.open(bundle_path)


def test_an_old_bank_copied_back_is_refused(bundle_path, tmp_path):
    shutil.copy(bundle_path / "bank.safetensors", tmp_path / "backup")
    receipt = forget(bundle_path, ["3"]).request
    shutil.copy(tmp_path / "backup", bundle_path / "bank.safetensors")
    with pytest.raises(TombstoneError, match=rf"its row 3 was forgotten on this device .*receipt {receipt}"):
        Bundle.open(bundle_path)
