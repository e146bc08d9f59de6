"""Attack: find what was learned of a class in what stays on the device.

Resisted: the graph never holds a row's bytes, and after a forget no file of the bundle does. The position
embeddings, which must be in the graph, are the positive control: the same search finds them.
"""

from __future__ import annotations

import numpy as np
import onnx

from pfedge_runtime import Bundle, forget


def everything(path):
    return {file.name: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def windows(vector, size=8):
    """Every run of 8 numbers of a row: finding one would be enough."""
    return [vector.ravel()[start : start + size].tobytes() for start in range(vector.size - size + 1)]


def test_the_graph_holds_no_part_of_any_row_but_holds_what_it_must(bundle_path):
    bundle = Bundle.open(bundle_path)
    data = bundle.graph_path.read_bytes()
    for class_id in bundle.bank().class_ids:
        row = bundle.bank().row(class_id)
        assert not any(part in data for part in windows(row["prompts"]) + windows(row["head_weight"]))
    weights = onnx.load(bundle.graph_path).graph.initializer
    (positions,) = (onnx.numpy_helper.to_array(tensor) for tensor in weights if "position_embeddings" in tensor.name)
    control = np.ascontiguousarray(positions[0, 0])
    assert all(part in data for part in windows(control))


def test_after_forgetting_no_file_holds_any_part_of_the_row(bundle_path):
    row = Bundle.open(bundle_path).bank().row(3)
    parts = windows(row["prompts"]) + windows(row["head_weight"])
    assert any(part in everything(bundle_path)["bank.safetensors"] for part in parts)
    forget(bundle_path, ["3"])
    for name, data in everything(bundle_path).items():
        assert not any(part in data for part in parts), name
