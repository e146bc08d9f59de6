from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from pfedge.exporting import ExportSettings, export_run
from pfedge.guarantees import load_model
from pfedge_export import tensorrt
from pfedge_export.graph import ExportError
from pfedge_export.tensorrt import EngineBuilder, build_engines, require_ours
from pfedge_runtime import Bundle, Classifier, forget
from pfedge_runtime.engines import Profile, gpu_models
from pfedge_runtime.errors import MissingExtraError, UsageError


@pytest.fixture(scope="module")
def builder():
    pytest.importorskip("tensorrt_rtx")
    return EngineBuilder("tensorrt-rtx")


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("half") / "bundle"
    return export_run(tiny_run, ExportSettings(out=out, precision="fp16", max_drop=0.05))[0]


@pytest.fixture
def bundle(exported, tmp_path):
    return Bundle.open(shutil.copytree(exported.path, tmp_path / "bundle"))


def profile_of(bundle):
    return Profile.of(bundle.manifest.inputs, max_batch=4, max_rows=3)


def test_engines_are_built_for_gpus_that_are_not_here(builder, bundle):
    before = {file.name: file.read_bytes() for file in bundle.path.iterdir() if file.is_file()}
    built = build_engines(bundle, builder, capabilities=("8.6", "8.9", "12.0"), max_batch=4)
    assert [one.target for one in built] == ["8.6", "8.9", "12.0"]
    assert len({one.path.parent for one in built}) == 3
    for one in built:
        about = json.loads((one.path.parent / "engine.json").read_bytes())
        assert one.bytes == one.path.stat().st_size > 10_000
        assert about["graph"] == bundle.manifest.files["graph.onnx"]["sha256"]
        assert about["profile"]["largest"]["prompts"] == [3, 1, 32]
        assert (about["library"], about["version"], about["target"]) == ("tensorrt-rtx", builder.version, one.target)
    assert {file.name: file.read_bytes() for file in bundle.path.iterdir() if file.is_file()} == before
    again = build_engines(bundle, builder, capabilities=("8.6",), max_batch=4)
    assert again[0].path == built[0].path
    assert len(list((bundle.path / "engines").iterdir())) == 3


def test_forgetting_leaves_every_engine_as_it_is(builder, bundle):
    (one,) = build_engines(bundle, builder, capabilities=("8.9",))
    before = one.path.read_bytes(), one.path.stat().st_mtime_ns
    forget(bundle.path, ["1"])
    assert (one.path.read_bytes(), one.path.stat().st_mtime_ns) == before
    assert Classifier.open(bundle.path).bank.class_ids == (0, 3)
    profile = profile_of(bundle)
    for name, part in Bundle.open(bundle.path).bank().graph_inputs().items():
        profile.require(name, part.shape)


def test_no_byte_of_a_row_is_in_an_engine_but_the_position_embeddings_are(builder, bundle, tiny_run):
    plan = builder.build(bundle.graph_path, profile_of(bundle), capability="8.6")
    for class_id in bundle.bank().class_ids:
        row = bundle.bank().row(class_id)
        for vector in (*row["prompts"], row["head_weight"]):
            assert vector.tobytes() not in plan
            assert vector.astype(np.float16).tobytes() not in plan
    positions = load_model(tiny_run).backbone.vit.embeddings.position_embeddings.detach().numpy()
    assert positions[0, 1].astype(np.float16).tobytes() in plan


def test_two_builds_differ_in_next_to_nothing(builder, bundle):
    """They are not byte-equal: TensorRT's compiler numbers its internal values in an order that may differ."""
    first, second = (
        np.frombuffer(builder.build(bundle.graph_path, profile_of(bundle), capability="8.6"), np.uint8) for _ in "ab"
    )
    assert abs(len(first) - len(second)) < 0.001 * len(first)
    if len(first) == len(second):
        assert (first != second).mean() < 0.001


def test_a_graph_in_float32_builds_too_but_not_for_turing(builder, tiny_run, tmp_path):
    bundle, _ = export_run(tiny_run, ExportSettings(out=tmp_path / "bundle"))
    assert builder.build(bundle.graph_path, profile_of(bundle), capability="8.9")
    with pytest.raises(ExportError, match=r"cannot build for compute capability 7\.5: .*FP32 GEMM is not supported"):
        builder.build(bundle.graph_path, profile_of(bundle), capability="7.5")


@pytest.mark.parametrize("capability", ["9.0", "86", "x", "8.6.1"])
def test_unknown_gpus_are_refused_with_those_there_are(builder, bundle, capability):
    with pytest.raises(UsageError, match=r"cannot build for compute capability .*it knows .*8\.9"):
        builder.build(bundle.graph_path, profile_of(bundle), capability=capability)


def test_graphs_of_others_and_of_other_opsets_are_refused(bundle, tmp_path):
    graph = onnx.load(bundle.graph_path)
    require_ours(bundle.graph_path)
    graph.producer_name = "someone"
    onnx.save(graph, tmp_path / "foreign.onnx")
    with pytest.raises(ExportError, match="was not exported by pfedge"):
        require_ours(tmp_path / "foreign.onnx")
    graph.producer_name = "pfedge"
    graph.opset_import[0].version = 24
    onnx.save(graph, tmp_path / "new.onnx")
    with pytest.raises(ExportError, match="has ONNX opset 24; engines are built of opsets 18 to 22"):
        require_ours(tmp_path / "new.onnx")
    (tmp_path / "none.onnx").write_bytes(b"not a graph")
    with pytest.raises(ExportError, match="cannot read the graph"):
        require_ours(tmp_path / "none.onnx")


def test_a_missing_library_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtraError, match=r"pfedge\[tensorrt\]"):
        EngineBuilder("tensorrt")
    with pytest.raises(UsageError, match="unknown target 'tflite'"):
        EngineBuilder("tflite")


def test_standard_tensorrt_is_driven_by_the_same_code(builder, bundle, monkeypatch):
    """Standard TensorRT needs a GPU; its module's place is taken here by the other one, which has its interface."""
    monkeypatch.setitem(tensorrt.MODULES, "tensorrt", "tensorrt_rtx")
    standard = EngineBuilder("tensorrt")
    assert standard.build(bundle.graph_path, profile_of(bundle), capability="8.6")
    if not gpu_models():
        with pytest.raises(ExportError, match="builds for the GPU that is here, and there is none"):
            build_engines(bundle, standard)
    monkeypatch.setattr(tensorrt, "gpu_models", lambda: ["NVIDIA Example"])
    monkeypatch.setattr(tensorrt, "driver_version", lambda: "580.1")
    (built,) = build_engines(bundle, standard)
    about = json.loads((built.path.parent / "engine.json").read_bytes())
    assert (about["target"], about["driver"], about["library"]) == ("NVIDIA Example", "580.1", "tensorrt")


def test_the_command_line_exports_builds_and_adds_engines(builder, tiny_run, cli, tmp_path):
    folder = Path(tiny_run.folder)
    arguments = ("--to", "tensorrt-rtx", "--max-drop", "0.05", "--json")
    made = json.loads(cli("export", folder, *arguments, "--compute-capability", "8.6").stdout)
    assert made["gate"]["precision"] == "fp16"
    assert [engine["target"] for engine in made["engines"]] == ["8.6"]
    added = cli("export", "bundle", "--to", "tensorrt-rtx", "--compute-capability", "8.6, 12.0").stdout
    assert "engine for 12.0: " in added
    assert len(list((tmp_path / "bundle" / "engines").iterdir())) == 2
    assert "is a bundle" in cli("export", "bundle", check=False).stderr
    refused = cli("export", folder, "--compute-capability", "8.6", check=False)
    assert (refused.returncode, "needs --to tensorrt-rtx" in refused.stderr) == (2, True)
