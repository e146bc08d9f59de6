from __future__ import annotations

import errno

import numpy as np
import pytest

from pfedge_export import BundleDescription, ParityError, export_bundle, package
from pfedge_runtime import Bundle, Classifier, ImagePreprocess
from pfedge_runtime.engines import Outputs
from pfedge_runtime.errors import StorageError
from support.graph_toys import Toy, bank

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 8, 10, 3), dtype=np.uint8)
DESCRIPTION = BundleDescription(
    guarantee="shared",
    dataset="toy",
    classes=("a", "b", "c", "d", "never"),
    preprocess=ImagePreprocess(8, 10),
    reach={"rows": 10, "shared": 5},
    made_by={"pfedge": "0"},
)


def test_the_bundle_holds_what_was_exported(tmp_path):
    bundle, report = export_bundle(tmp_path / "bundle", Toy(), bank(), DESCRIPTION, IMAGES)
    assert report.passed
    assert sorted(file.name for file in bundle.path.iterdir()) == [
        "bank.safetensors",
        "graph.onnx",
        "manifest.json",
        "selftest.npz",
    ]
    again = Bundle.open(tmp_path / "bundle")
    assert again.bank().digest() == bank().digest()
    assert [entry.row is None for entry in again.manifest.classes] == [False] * 4 + [True]
    assert again.manifest.parity["passed"]
    assert Classifier.open(bundle.path).predict(IMAGES)[0].coverage == (0, 1, 2, 3)


def test_equal_exports_have_one_model_id(tmp_path):
    import torch

    torch.manual_seed(0)
    toy = Toy()
    first, second = (export_bundle(tmp_path / name, toy, bank(), DESCRIPTION, IMAGES)[0] for name in "ab")
    assert first.manifest.model_id == second.manifest.model_id
    assert first.graph_path.read_bytes() == second.graph_path.read_bytes()


def test_failed_parity_leaves_nothing(tmp_path, monkeypatch):
    class Off(package.OnnxRuntimeEngine):
        def run(self, images, rows):
            return Outputs(super().run(images, rows).logits + np.float32(1e-3))

    monkeypatch.setattr(package, "OnnxRuntimeEngine", Off)
    with pytest.raises(ParityError):
        export_bundle(tmp_path / "bundle", Toy(), bank(), DESCRIPTION, IMAGES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["export_graph", "write_atomic"])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, step):
    def full(*_arguments, **_keywords):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(package, step, full)
    with pytest.raises(StorageError, match="No space left on device"):
        export_bundle(tmp_path / "bundle", Toy(), bank(), DESCRIPTION, IMAGES)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_destination_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(StorageError, match="not empty"):
        export_bundle(tmp_path, Toy(), bank(), DESCRIPTION, IMAGES)
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]
