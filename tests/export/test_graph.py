from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from pfedge_export import graph as graph_module
from pfedge_export.graph import ExportError, export_graph, require_no_row
from pfedge_runtime.bank import guarantee
from pfedge_runtime.inputs import AudioPreprocess, ImagePreprocess
from support.graph_toys import Toy, bank
from support.paths import GOLDEN

PREPROCESS = ImagePreprocess(8, 10)
SIGNATURE = guarantee("shared").graph


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("graph") / "graph.onnx"
    toy = Toy()
    return toy, path, export_graph(toy, bank(), path, PREPROCESS, SIGNATURE)


def test_the_signature_is_that_of_the_design(exported):
    _, _, graph = exported
    assert graph_module.describe(graph.graph.input) == {
        "images": {"dtype": "uint8", "shape": ["B", 8, 10, 3]},
        "prompts": {"dtype": "float32", "shape": ["P", 2, 6]},
        "head_weight": {"dtype": "float32", "shape": ["R", 6]},
        "head_bias": {"dtype": "float32", "shape": ["R"]},
    }
    assert graph_module.describe(graph.graph.output) == {"logits": {"dtype": "float32", "shape": ["B", "R"]}}


@pytest.mark.parametrize(("batch", "prompts", "rows"), [(1, 0, 1), (1, 1, 1), (5, 3, 2), (2, 0, 7), (3, 40, 40)])
def test_every_size_runs_no_prompts_included(exported, batch, prompts, rows):
    toy, path, _ = exported
    rng = np.random.default_rng(1)
    feed = {
        "images": rng.integers(0, 256, (batch, 8, 10, 3), dtype=np.uint8),
        "prompts": rng.normal(size=(prompts, 2, 6)).astype(np.float32),
        "head_weight": rng.normal(size=(rows, 6)).astype(np.float32),
        "head_bias": rng.normal(size=rows).astype(np.float32),
    }
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = toy(**{name: torch.from_numpy(value) for name, value in feed.items()}).numpy()
    assert np.allclose(session.run(None, feed)[0], expected, atol=1e-4)


def test_no_path_of_the_exporting_machine_is_in_the_graph(exported):
    _, path, _ = exported
    data = path.read_bytes()
    assert b".py" not in data
    assert b"/home" not in data
    assert b"stack_trace" not in data


def test_the_opset_is_the_one_asked_for(exported, tmp_path):
    assert exported[2].opset_import[0].version == 20
    assert (
        export_graph(Toy(), bank(), tmp_path / "g.onnx", PREPROCESS, SIGNATURE, opset=18).opset_import[0].version == 18
    )


def test_an_opset_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(ExportError, match="opset 99"):
        export_graph(Toy(), bank(), tmp_path / "g.onnx", PREPROCESS, SIGNATURE, opset=99)


def test_weights_above_the_limit_go_to_a_second_file(tmp_path, monkeypatch):
    monkeypatch.setattr(graph_module, "EXTERNAL_DATA_BYTES", 4000)

    class Wide(Toy):
        def __init__(self):
            super().__init__()
            self.more = nn.Linear(6, 400)
            self.back = nn.Linear(400, 6)

        def forward(self, images, prompts, head_weight, head_bias):
            feature = self.back(self.more(self.project(images.float().mean((1, 2)) / 255))) + prompts.flatten(0, 1).sum(
                0
            )
            return feature @ head_weight.T + head_bias

    wide = Wide()
    export_graph(wide, bank(), tmp_path / "graph.onnx", PREPROCESS, SIGNATURE)
    assert (tmp_path / "graph.onnx.data").stat().st_size > 4000
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx", providers=["CPUExecutionProvider"])
    images, parts = np.zeros((1, 8, 10, 3), np.uint8), bank()
    feed = {"images": images, "prompts": parts.prompts, "head_weight": parts.head_weight, "head_bias": parts.head_bias}
    with torch.no_grad():
        expected = wide(**{name: torch.from_numpy(np.array(value)) for name, value in feed.items()}).numpy()
    assert np.allclose(session.run(None, feed)[0], expected, atol=1e-4)


def test_a_module_that_holds_a_row_is_not_exported(tmp_path):
    rows = bank()

    class Leaky(Toy):
        def __init__(self):
            super().__init__()
            self.register_buffer("kept", torch.from_numpy(np.array(rows.head_weight)))

        def forward(self, images, prompts, head_weight, head_bias):
            hidden = prompts.flatten(0, 1) @ self.kept.T  # stored transposed: no row's bytes stand side by side
            return super().forward(images, prompts, head_weight, head_bias) + hidden.sum()

    with pytest.raises(ExportError, match=r"contains the row of class 0"):
        export_graph(Leaky(), rows, tmp_path / "g.onnx", PREPROCESS, SIGNATURE)


def test_a_module_whose_rows_are_fixed_is_not_exported(tmp_path):
    class Fixed(Toy):
        def forward(self, images, prompts, head_weight, head_bias):
            return super().forward(images, prompts, head_weight[:3], head_bias[:3]).reshape(-1, 3)

    with pytest.raises(ExportError):
        export_graph(Fixed(), bank(), tmp_path / "g.onnx", PREPROCESS, SIGNATURE)


@pytest.mark.parametrize("vector", ["prompt", "head"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_row_is_found_along_any_axis(vector, axis, tmp_path):
    rows = bank()
    part = rows.prompts[2, 1] if vector == "prompt" else rows.head_weight[2]
    weight = np.moveaxis(np.stack([np.zeros((6, 5), np.float32), np.tile(part, (5, 1)).T]), 1, axis)
    save_weight(tmp_path / "graph.onnx", weight)
    with pytest.raises(ExportError, match="row of class 2"):
        require_no_row(tmp_path / "graph.onnx", rows)
    save_weight(tmp_path / "graph.onnx", weight + 1)
    require_no_row(tmp_path / "graph.onnx", rows)


def save_weight(path, weight):
    tensor = onnx.numpy_helper.from_array(np.ascontiguousarray(weight), "weight")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [tensor])), path)


def test_the_golden_graph_passes_the_onnx_checker():
    onnx.checker.check_model(onnx.load(GOLDEN / "bundle" / "graph.onnx"), full_check=True)


def test_a_graph_of_sounds_takes_features(tmp_path):
    class Listening(nn.Module):
        def forward(self, features, prompts, head_weight, head_bias):
            return (features.mean(1) + prompts.flatten(0, 1).sum(0)) @ head_weight.T + head_bias

    graph = export_graph(Listening(), bank(), tmp_path / "g.onnx", AudioPreprocess(frames=20, mels=6), SIGNATURE)
    described = graph_module.describe(graph.graph.input)
    assert described["features"] == {"dtype": "float32", "shape": ["B", 20, 6]}
    assert "images" not in described
