from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from rich.console import Console

from pfedge.data import load_dataset
from pfedge.exporting import ExportSettings, export_run
from pfedge.guarantees import find_guarantee, guarantee_of, load_model, train
from pfedge.training import TrainSettings
from pfedge_export.parity import torch_logits
from pfedge_runtime.engines import OnnxRuntimeEngine, PaddedBank, StaticEngine
from pfedge_runtime.errors import BundleError, UsageError


@pytest.fixture(scope="module", params=["shared", "isolated", "exact"])
def run(request, tiny_run, shaded_npz, tiny_vit, tmp_path_factory):
    if request.param == "shared":
        return tiny_run
    folder = tmp_path_factory.mktemp("run") / "run"
    config = find_guarantee(request.param).config(str(shaded_npz), str(tiny_vit), epochs=2, embedding_dim=12)
    return train(config, TrainSettings(out=folder, save_dir=folder), Console(quiet=True))[0]


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("static") / "bundle"
    return export_run(run, ExportSettings(out=out, static_batch=4))[0]


@pytest.fixture(scope="module")
def images(run):
    model = load_model(run)
    test = load_dataset(run.config.train.dataset, image_size=14).test
    return test.batch(np.arange(10), model.backbone.preprocess)


def test_every_shape_is_fixed(exported):
    graph = onnx.load(exported.static_graph_path).graph
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.input}
    rows = len(exported.bank())
    assert shapes["images"] == [4, 14, 14, 3]
    assert shapes["head_bias"] == shapes["row_mask"] == [rows]
    assert 0 not in [size for shape in shapes.values() for size in shape]
    assert exported.manifest.files["graph.static.onnx"]["bytes"] > 1000


def test_masking_is_dropping(exported, images):
    fixed, dynamic, bank = (
        StaticEngine(exported.static_graph_path),
        OnnxRuntimeEngine(exported.graph_path),
        exported.bank(),
    )
    for smaller in (bank, *(bank.drop({class_id}) for class_id in bank.class_ids), bank.select(bank.class_ids[-1:])):
        masked, dropped = fixed.run(images, smaller), dynamic.run(images, smaller)
        assert masked.logits.shape == dropped.logits.shape
        allowed = 1e-5 * max(1.0, float(np.abs(dropped.logits).max()))
        assert np.abs(masked.logits - dropped.logits).max() < allowed
        if dropped.embedding is not None:
            assert np.abs(masked.embedding - dropped.embedding).max() < 1e-5


@pytest.mark.parametrize("junk", [1e30, np.nan, np.inf])
@torch.no_grad()
def test_junk_in_masked_rows_reaches_nothing(run, images, junk):
    model = load_model(run)
    bank, module = model.bank(), model.deployable()
    fixed, gone = guarantee_of(run).static_graph(model), bank.class_ids[1]
    smaller = bank.drop({gone})
    parts = {name: np.array(part) for name, part in bank.graph_inputs().items()}
    if run.config.train.guarantee == "exact":  # the head of the rows that are left, and junk in one's place
        for name, part in smaller.graph_inputs().items():
            parts[name][[0, *range(2, len(bank))]] = part
    for part in parts.values():
        part[1] = junk
    mask = torch.tensor([class_id != gone for class_id in bank.class_ids])
    outputs = fixed(torch.from_numpy(images), *map(torch.from_numpy, parts.values()), mask)
    logits = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
    assert torch.isneginf(logits[:, 1]).all()
    expected = torch_logits(module, images, smaller)
    assert np.abs(logits[:, mask].numpy() - expected).max() < 1e-5 * max(1.0, float(np.abs(expected).max()))


def test_what_stood_in_a_forgotten_rows_place_is_overwritten(exported, images):
    engine, bank = StaticEngine(exported.static_graph_path), exported.bank()
    engine.run(images, bank)
    places = {name: tensor.data_ptr() for name, (_, tensor) in engine.engine._rows.items()}
    before = {name: tensor.numpy().copy() for name, (_, tensor) in engine.engine._rows.items()}
    smaller = bank.drop({bank.class_ids[-1]})
    engine.run(images, smaller)
    for name, (_, tensor) in engine.engine._rows.items():
        assert tensor.data_ptr() == places[name], name
        assert not tensor.numpy()[-1].any(), name
    assert before["head_weight"][-1].any()
    assert (engine.engine.sessions, engine.engine.bindings) == (1, 2)


def test_it_comes_in_float16_too(run, images, tmp_path):
    settings = ExportSettings(out=tmp_path / "bundle", static_batch=2, precision="fp16", max_drop=0.1)
    if run.config.train.guarantee == "exact":
        settings = replace(settings, max_drop=1.0)
    bundle, _ = export_run(run, settings)
    fixed, dynamic = StaticEngine(bundle.static_graph_path), OnnxRuntimeEngine(bundle.graph_path)
    ours, theirs = fixed.run(images, bundle.bank()).logits, dynamic.run(images, bundle.bank()).logits
    assert np.abs(ours - theirs).max() < 0.02 * np.abs(theirs).max()


def test_more_rows_than_it_was_exported_for_are_refused(run):
    with pytest.raises(UsageError, match="the static graph was exported for 1"):
        PaddedBank(load_model(run).bank(), 1).graph_inputs()


def test_no_input_gives_no_output(exported, images):
    assert StaticEngine(exported.static_graph_path).run(images[:0], exported.bank()).logits.shape[0] == 0


def test_a_bundle_without_one_says_so(tiny_run, tmp_path):
    bundle, _ = export_run(tiny_run, ExportSettings(out=tmp_path / "bundle"))
    with pytest.raises(BundleError, match="--static-batch"):
        _ = bundle.static_graph_path
