"""Attack: change, swap, replay or smuggle what a device trusts. Each is refused, with an error of its own."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from pfedge_runtime import Bundle, PromptBank, forget
from pfedge_runtime.bank import RowKey, seal
from pfedge_runtime.bundle import ClassEntry, Manifest
from pfedge_runtime.device import DeviceState
from pfedge_runtime.errors import (
    BankError,
    BundleError,
    LedgerError,
    SealError,
    SignatureError,
    StateError,
    TombstoneError,
    UsageError,
)
from pfedge_runtime.files import canonical_json
from pfedge_runtime.files.encoding import JSON_BYTES
from pfedge_runtime.forgetting import adopt, write_keys
from pfedge_runtime.receipts import Receipt, authorize, restore, trust
from pfedge_runtime.signing import PrivateKey


def rewrite_manifest(path, change):
    """Change a manifest as someone would who knows its format: its own digest is right again."""
    value = json.loads((path / "manifest.json").read_bytes())
    value.pop("digest")
    change(value)
    digest = hashlib.sha256(canonical_json(value)).hexdigest()
    (path / "manifest.json").write_bytes(canonical_json({**value, "digest": digest}))


def make_sealed(path):
    """Seal a bundle's rows; return the file of their keys."""
    bundle = Bundle.open(path)
    manifest = dataclasses.replace(bundle.manifest, sealed=True)
    sealed, keys = seal(bundle.bank())
    (path / "manifest.json").write_bytes(manifest.to_bytes())
    (path / "bank.safetensors").write_bytes(sealed.to_bytes())
    write_keys(path.with_suffix(".keys"), manifest.model_id, keys)
    return path.with_suffix(".keys")


def test_a_whole_old_bundle_put_back_is_refused_however_validly_signed(bundle_path, tmp_path, monkeypatch):
    key = PrivateKey.create(tmp_path / "signer.pem")
    monkeypatch.setenv("PFEDGE_TRUSTED_KEYS", str(tmp_path / "signer.pub"))
    with pytest.raises(SignatureError, match="is not signed, and only bundles signed by a trusted key"):
        Bundle.open(bundle_path)
    Bundle(bundle_path, Manifest.load(bundle_path / "manifest.json")).sign(key)
    old = shutil.copytree(bundle_path, tmp_path / "usb-stick")
    receipt = forget(bundle_path, ["3"]).request
    assert Bundle.open(bundle_path).bank().class_ids == (0, 1, 2, 4, 5, 6, 7, 8, 9)  # the signature stays valid
    for _ in range(3):
        with pytest.raises(TombstoneError, match=receipt):
            Bundle.open(old)
    refusals = [entry for entry in DeviceState.at().ledger().entries if entry.act == "refuse"]
    assert [(entry.request, entry.rows[0].class_id) for entry in refusals] == [(receipt, 3)]


def test_an_old_state_put_back_is_refused(bundle_path, device_state, tmp_path):
    forget(bundle_path, ["3"])
    old = shutil.copytree(device_state, tmp_path / "backup")
    forget(bundle_path, ["5"])
    shutil.rmtree(device_state)
    shutil.copytree(old, device_state)
    with pytest.raises(StateError, match="is an old copy: its ledger has 2 lines and had 4"):
        Bundle.open(bundle_path)
    shutil.rmtree(device_state)
    with pytest.raises(StateError, match="is gone: its floor knows 4 lines"):
        Bundle.open(bundle_path)


def swap(lines):
    lines[1], lines[2] = lines[2], lines[1]


def edit(lines):
    entry = json.loads(lines[1])
    entry["rows"][0]["class"] = 4
    lines[1] = canonical_json(entry)


def cut(lines):
    del lines[-1]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda lines: lines.pop(1), LedgerError, "line 2 of the ledger does not follow the one before"),
        (swap, LedgerError, "line 2 of the ledger does not follow the one before"),
        (edit, LedgerError, "line 3 of the ledger does not follow the one before"),
        (lambda lines: lines.insert(1, lines[1]), LedgerError, "line 3 of the ledger does not follow"),
        (cut, StateError, "is an old copy: its ledger has 3 lines and had 4"),
        (lambda lines: lines.__setitem__(slice(None), []), StateError, "its ledger has 0 lines and had 4"),
    ],
    ids=["removed", "reordered", "edited", "duplicated", "cut off", "emptied"],
)
def test_a_changed_ledger_is_refused(bundle_path, device_state, change, error, words):
    forget(bundle_path, ["3"])
    forget(bundle_path, ["5"])
    lines = (device_state / "ledger.jsonl").read_bytes().splitlines()
    change(lines)
    (device_state / "ledger.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    with pytest.raises(error, match=words):
        Bundle.open(bundle_path)


def test_a_head_that_was_edited_is_refused(bundle_path, device_state):
    forget(bundle_path, ["3"])
    lines = (device_state / "ledger.jsonl").read_bytes().splitlines()
    entry = json.loads(lines[-1])
    entry["time"] = "2001-01-01T00:00:00Z"
    (device_state / "ledger.jsonl").write_bytes(lines[0] + b"\n" + canonical_json(entry) + b"\n")
    with pytest.raises(LedgerError, match="line 2 of the ledger was edited: its signature does not verify"):
        Bundle.open(bundle_path)


def test_a_receipt_serves_neither_another_device_nor_another_class(bundle_path, new_device, tmp_path):
    other = new_device()
    copy = shutil.copytree(bundle_path, tmp_path / "copy")
    data = Path(forget(bundle_path, ["3"]).receipt).read_bytes()
    forget(copy, ["5"], state=other)
    with pytest.raises(SignatureError, match="is not signed by a key given for it"):
        Receipt.verify(data, [other.public_key()])
    envelope = json.loads(data)
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["predicate"]["rows"][0]["class"] = 5
    envelope["payload"] = base64.b64encode(canonical_json(statement)).decode()
    with pytest.raises(SignatureError, match="is not signed by a key given for it"):
        Receipt.verify(canonical_json(envelope), [DeviceState.at().public_key()])


def test_a_restoration_serves_once_one_device_and_one_forget(bundle_path, new_device, tmp_path):
    authority, stranger = (PrivateKey.create(tmp_path / f"{name}.pem") for name in ("authority", "stranger"))
    here, other = DeviceState.at(), new_device()
    copy = shutil.copytree(bundle_path, tmp_path / "copy")
    old, again = (shutil.copytree(bundle_path, tmp_path / name) for name in ("old", "again"))
    for state, path in ((here, bundle_path), (other, copy)):
        trust(state, authority.public)
        forget(path, ["3"], state=state)
        with pytest.raises(StateError, match="has its authority already"):
            trust(state, stranger.public)
    receipt = Receipt.of(here.ledger().entries[-1])
    with pytest.raises(SignatureError, match="is not signed by a key given for it"):
        restore(here, authorize(receipt, stranger))
    with pytest.raises(SignatureError, match="is for another device"):
        restore(other, authorize(receipt, authority))
    restore(here, authorize(receipt, authority), class_id=3)
    assert 3 in Bundle.open(old).bank().class_ids
    forget(old, ["3"])
    with pytest.raises(UsageError, match="has served already"):
        restore(here, authorize(receipt, authority))
    with pytest.raises(TombstoneError):
        Bundle.open(again)


def smuggle(path, class_id, content, model_id):
    """Make a bundle of another model, whole in itself, whose row `class_id` has the content of another row."""
    bank = PromptBank.load(path / "bank.safetensors")
    parts = {part: bank.row(class_id)[part][None] for part in ("prompts", "head_weight", "head_bias", "threshold")}
    parts |= {part: value[None] for part, value in content.items()}
    row = PromptBank((class_id,), **parts)
    bank = PromptBank.joined([bank.drop({class_id}), row])
    (path / "bank.safetensors").write_bytes(bank.to_bytes())

    def change(value):
        value["model_id"] = model_id
        for entry in value["classes"]:
            digest = bank.row_digest(entry["id"]) if entry["id"] in bank.class_ids else entry["row"]
            entry.update(ClassEntry(entry["id"], f"other {entry['id']}", digest).to_json())

    rewrite_manifest(path, change)


def test_a_row_smuggled_into_another_bundle_under_another_class_is_refused(bundle_path, tmp_path):
    other = shutil.copytree(bundle_path, tmp_path / "other")
    row = Bundle.open(bundle_path).bank().row(3)
    without = Bundle.open(bundle_path).bank().drop({3})
    (other / "bank.safetensors").write_bytes(without.to_bytes())
    smuggle(other, 7, row, "f" * 32)
    assert 7 in Bundle.open(other).bank().class_ids  # a bundle like any other, before
    forget(bundle_path, ["3"])
    with pytest.raises(TombstoneError, match="its row 7 was forgotten on this device"):
        Bundle.open(other)


@pytest.mark.parametrize("name", ["graph.onnx", "manifest.json", "selftest.npz", "bank.safetensors", "signature.json"])
def test_one_flipped_bit_is_refused_with_the_name_of_the_file(bundle_path, tmp_path, monkeypatch, name):
    Bundle(bundle_path, Manifest.load(bundle_path / "manifest.json")).sign(PrivateKey.create(tmp_path / "signer.pem"))
    monkeypatch.setenv("PFEDGE_TRUSTED_KEYS", str(tmp_path / "signer.pub"))
    Bundle.open(bundle_path)
    data = bytearray((bundle_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle_path / name).write_bytes(data)
    with pytest.raises((BundleError, BankError, SignatureError), match=name):
        Bundle.open(bundle_path)


def test_sealed_rows_open_with_their_own_keys_only(bundle_path, tmp_path):
    other = shutil.copytree(bundle_path, tmp_path / "other")
    keys, others = make_sealed(bundle_path), make_sealed(other)
    with pytest.raises(SealError, match="is sealed and this device has no key for it"):
        Bundle.open(bundle_path)
    with pytest.raises(SealError, match="does not open with this device's key"):
        adopt(Bundle.open(bundle_path, read_bank=False), others)
    adopt(Bundle.open(bundle_path, read_bank=False), keys)
    assert len(Bundle.open(bundle_path).bank()) == 10
    with pytest.raises(SealError, match="does not open with this device's key"):
        Bundle.open(other)


def test_forgetting_a_sealed_row_kills_every_copy_of_the_bundle_and_its_key_is_refused(bundle_path, tmp_path):
    keys = make_sealed(bundle_path)
    copy = shutil.copytree(bundle_path, tmp_path / "copy")
    taken, _ = adopt(Bundle.open(bundle_path, read_bank=False), keys)
    state = DeviceState.at()
    key = state.row_key_path(Bundle.open(bundle_path).manifest.model_id, RowKey(3))
    secret = key.read_bytes()
    forget(bundle_path, ["3"])
    assert len(taken) == 10
    assert not key.exists()
    assert not any(secret in file.read_bytes() for file in state.path.rglob("*") if file.is_file())
    assert len(Bundle.open(bundle_path).bank()) == 9
    with pytest.raises(TombstoneError):
        Bundle.open(copy)
    _, refused = adopt(Bundle.open(copy, read_bank=False), keys)
    assert [row.class_id for row in refused] == [3]
    assert not key.exists()


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/b", "..", "bank.safetensors", "manifest.json"])
def test_a_manifest_that_names_a_file_elsewhere_is_refused(bundle_path, name):
    def change(value):
        value["files"][name] = {"sha256": "0" * 64, "bytes": 0}

    rewrite_manifest(bundle_path, change)
    with pytest.raises(BundleError, match="that is not one of a bundle's own"):
        Bundle.open(bundle_path)


def test_a_file_that_is_a_link_is_refused(bundle_path, tmp_path):
    (bundle_path / "graph.onnx").rename(tmp_path / "graph.onnx")
    (bundle_path / "graph.onnx").symlink_to(tmp_path / "graph.onnx")
    with pytest.raises(BundleError, match=r"graph\.onnx is a link"):
        Bundle.open(bundle_path)


BOMBS = {"lists": b"[" * 1_000_000, "objects": b'{"a":' * 500_000, "size": b" " * (JSON_BYTES + 1)}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_json_bomb_is_refused(bundle_path, device_state, bomb):
    forget(bundle_path, ["3"])
    whole = (bundle_path / "manifest.json").read_bytes()
    (bundle_path / "manifest.json").write_bytes(bomb)
    with pytest.raises(BundleError, match=r"manifest\.json is (damaged|too large)"):
        Bundle.open(bundle_path)
    (bundle_path / "manifest.json").write_bytes(whole)
    with (device_state / "ledger.jsonl").open("ab") as ledger:
        ledger.write(bomb + b"\n")
    with pytest.raises(LedgerError, match=r"line 3 of the ledger is (damaged|too large)"):
        Bundle.open(bundle_path)
    with pytest.raises(SignatureError, match=r"is (damaged|too large)"):
        Receipt.verify(bomb, [DeviceState.at().public_key()])


@pytest.mark.parametrize("name", ["manifest.json", "bank.safetensors"])
def test_a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for(bundle_path, name):
    (bundle_path / name).unlink()
    os.mkfifo(bundle_path / name)
    with pytest.raises((BundleError, BankError), match=f"{name} is not a file|it has no {name}"):
        Bundle.open(bundle_path)


def test_a_signature_is_reported_of_the_key_that_made_it(bundle_path, tmp_path):
    one, two = (PrivateKey.create(tmp_path / f"{name}.pem") for name in ("one", "two"))
    bundle = Bundle.open(bundle_path)
    bundle.sign(one)
    envelope = json.loads((bundle_path / "signature.json").read_bytes())
    envelope["signatures"].append({"keyid": two.public.id, "sig": base64.b64encode(bytes(64)).decode()})
    (bundle_path / "signature.json").write_bytes(canonical_json(envelope))
    assert bundle.require_signature([two.public, one.public]) == one.public.id
