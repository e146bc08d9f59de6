"""Attack: find what was learned of a class in what stays on the device.

Resisted: the graph never holds a row's bytes, and after a forget no file of the bundle does. The position
embeddings, which must be in the graph, are the positive control: the same search finds them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from pfedge_runtime import Bundle, StatisticsBank, forget
from support.paths import GOLDEN


@pytest.fixture(params=["shared", "isolated", "exact"])
def bundle_path(request, tmp_path):
    """A private copy of the golden bundle of each guarantee."""
    folder = GOLDEN if request.param == "shared" else GOLDEN / request.param
    return Path(shutil.copytree(folder / "bundle", tmp_path / "bundle"))


def everything(path):
    return {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def windows(vector, size=8):
    """Every run of 8 numbers of a row: finding one would be enough."""
    return [vector.ravel()[start : start + size].tobytes() for start in range(vector.size - size + 1)]


def parts_of(bank, class_id):
    """What a row is made of: tokens and head vector, or sums; and what is solved from them."""
    if isinstance(bank, StatisticsBank):
        row = bank.classes[class_id]
        solved = bank.head().weight[bank.class_ids.index(class_id)]
        mean = (row.sum / row.count * 2.0**-bank.scale_bits).astype(np.float32)
        return [part for vector in (row.sum, row.outer, solved, mean) for part in windows(vector)]
    row = bank.row(class_id)
    return windows(row["prompts"]) + windows(row["head_weight"])


def test_the_graph_holds_no_part_of_any_row_but_holds_what_it_must(bundle_path):
    bundle = Bundle.open(bundle_path)
    data = bundle.graph_path.read_bytes()
    for class_id in bundle.bank().class_ids:
        assert not any(part in data for part in parts_of(bundle.bank(), class_id))
    weights = onnx.load(bundle.graph_path).graph.initializer
    (positions,) = (onnx.numpy_helper.to_array(tensor) for tensor in weights if "position_embeddings" in tensor.name)
    control = np.ascontiguousarray(positions[0, 0])
    assert all(part in data for part in windows(control))


def test_after_forgetting_no_file_holds_any_part_of_the_row(bundle_path, device_state):
    parts = parts_of(Bundle.open(bundle_path).bank(), 3)
    assert any(part in everything(bundle_path)["bank.safetensors"] for part in parts)
    forget(bundle_path, ["3"])
    for name, data in (everything(bundle_path) | everything(device_state)).items():
        assert not any(part in data for part in parts), name
