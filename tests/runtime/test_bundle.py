from __future__ import annotations

import json

import numpy as np
import pytest

from pfedge_runtime import Bundle
from pfedge_runtime.bank import PromptBank
from pfedge_runtime.bundle import find_class
from pfedge_runtime.errors import BankError, BundleError, PfedgeError, UnknownClassError
from pfedge_runtime.files import canonical_json


def test_opens_the_golden_bundle(bundle_path):
    bundle = Bundle.open(bundle_path)
    assert bundle.bank().class_ids == tuple(range(10))
    assert bundle.manifest.guarantee == "shared"


def test_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="give --bundle"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("name", ["graph.onnx", "selftest.npz", "bank.safetensors", "manifest.json"])
def test_one_flipped_bit_is_refused_and_the_file_named(bundle_path, name):
    file = bundle_path / name
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for position in [0, len(whole) - 1, *rng.integers(0, len(whole), 20).tolist()]:
        flipped = bytearray(whole)
        flipped[position] ^= 1 << int(rng.integers(8))
        file.write_bytes(bytes(flipped))
        with pytest.raises(PfedgeError, match=name):
            Bundle.open(bundle_path)


@pytest.mark.parametrize("name", ["graph.onnx", "selftest.npz", "bank.safetensors", "manifest.json"])
@pytest.mark.parametrize("kept", [0, 100])
def test_truncated_files_are_refused(bundle_path, name, kept):
    file = bundle_path / name
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(PfedgeError, match=name):
        Bundle.open(bundle_path)


@pytest.mark.parametrize("name", ["graph.onnx", "bank.safetensors", "manifest.json"])
def test_missing_files_are_refused(bundle_path, name):
    (bundle_path / name).unlink()
    with pytest.raises(PfedgeError, match=name):
        Bundle.open(bundle_path)


def rewrite_manifest(path, **changes):
    """Edit a manifest as a forger without a key would: digest recomputed."""
    import hashlib

    value = json.loads((path / "manifest.json").read_bytes())
    del value["digest"]
    value.update(changes)
    value = {name: item for name, item in value.items() if item is not None}
    digest = hashlib.sha256(canonical_json(value)).hexdigest()
    (path / "manifest.json").write_bytes(canonical_json({**value, "digest": digest}))


def test_another_schema_version_is_named(bundle_path):
    rewrite_manifest(bundle_path, schema="pfedge-bundle/2")
    with pytest.raises(BundleError, match=r"schema 'pfedge-bundle/2'; this version of pfedge reads 'pfedge-bundle/1'"):
        Bundle.open(bundle_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"opset": None}, "opset"),
        ({"guarantee": "magic"}, "unknown guarantee"),
        ({"preprocess": {"kind": "smell"}}, "unknown preprocessing"),
        ({"files": ["graph.onnx"]}, "misstates a field"),
        ({"classes": [{"id": 1, "name": "a", "row": None}]}, "numbered 0, 1, 2"),
        ({"files": {"../../etc/passwd": {"sha256": "", "bytes": 1}}}, "not one of a bundle's own"),
    ],
)
def test_a_manifest_that_misstates_things_is_refused(bundle_path, change, words):
    rewrite_manifest(bundle_path, **change)
    with pytest.raises(BundleError, match=words):
        Bundle.open(bundle_path)


@pytest.mark.parametrize(
    "text", [b'{"schema":"pfedge-bundle/1","opset":1e400}', b'{"schema":"pfedge-bundle/1","x":NaN}', b"[1]"]
)
def test_json_that_no_manifest_can_be_is_refused(bundle_path, text):
    (bundle_path / "manifest.json").write_bytes(text)
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        Bundle.open(bundle_path)


def test_a_manifest_that_is_not_json(bundle_path):
    (bundle_path / "manifest.json").write_bytes(b"\x80not json")
    with pytest.raises(BundleError, match=r"manifest\.json is damaged: it is not JSON"):
        Bundle.open(bundle_path)


def replace_bank(path, **changes):
    bank = PromptBank.load(path / "bank.safetensors")
    parts = {name: np.array(value) for name, value in vars(bank).items() if name != "class_ids"}
    parts.update(changes)
    class_ids = parts.pop("class_ids", bank.class_ids)
    (path / "bank.safetensors").write_bytes(PromptBank(class_ids=class_ids, **parts).to_bytes())


def test_a_changed_row_is_refused(bundle_path):
    bank = PromptBank.load(bundle_path / "bank.safetensors")
    replace_bank(bundle_path, head_bias=bank.head_bias + np.float32(0.5))
    with pytest.raises(BankError, match="is not the one that was exported"):
        Bundle.open(bundle_path)


def test_a_bank_whose_shapes_do_not_fit_the_graph_is_refused(bundle_path):
    bank = PromptBank.load(bundle_path / "bank.safetensors")
    replace_bank(bundle_path, prompts=np.zeros((10, 2, bank.prompts.shape[2]), np.float32))
    rows = {class_id: PromptBank.load(bundle_path / "bank.safetensors").row_digest(class_id) for class_id in range(10)}
    classes = json.loads((bundle_path / "manifest.json").read_bytes())["classes"]
    rewrite_manifest(bundle_path, classes=[{**entry, "row": rows[entry["id"]]} for entry in classes])
    with pytest.raises(BankError, match=r"does not fit the graph: prompts rows are \[2, 32\], expected \[1, 32\]"):
        Bundle.open(bundle_path)


def test_a_row_under_another_class_is_refused(bundle_path):
    bank = PromptBank.load(bundle_path / "bank.safetensors")
    order = [1, 0, *range(2, 10)]
    replace_bank(
        bundle_path,
        **{name: np.array(getattr(bank, name))[order] for name in ("prompts", "head_weight", "head_bias", "threshold")},
    )
    with pytest.raises(BankError, match="row 0"):
        Bundle.open(bundle_path)


def test_a_name_that_is_another_classs_id_is_not_guessed():
    """Folders called 1, 3 and 7 have the ids 0, 1 and 2: forgetting "1" must not pick one of two."""
    names = ["1", "3", "7"]
    assert find_class(names, "0") == 0
    assert find_class(names, "7") == 2
    with pytest.raises(UnknownClassError, match=r"class '1' is ambiguous, it is the id or name of \[0, 1\]"):
        find_class(names, "1")
    with pytest.raises(UnknownClassError, match="ambiguous"):
        find_class(["cell", "cell"], "cell")


def test_class_names_are_looked_up_by_id_alone(bundle_path):
    from dataclasses import replace

    manifest = Bundle.open(bundle_path).manifest
    classes = tuple(replace(entry, name=str(9 - entry.id)) for entry in manifest.classes)
    assert [replace(manifest, classes=classes).class_name(i) for i in (0, 3)] == ["9", "6"]


def test_classes_are_found_by_id_and_name(bundle_path):
    manifest = Bundle.open(bundle_path).manifest
    assert manifest.find_class("3").id == 3
    with pytest.raises(PfedgeError, match=r"unknown class 'nosuch'; known are: 0 0, 1 1"):
        manifest.find_class("nosuch")
