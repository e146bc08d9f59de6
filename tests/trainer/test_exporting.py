from __future__ import annotations

import numpy as np
import pytest
import torch

from pfedge.data import load_dataset
from pfedge.exporting import ExportSettings, export_run
from pfedge.guarantees import load_model
from pfedge_export import ParityError
from pfedge_export.parity import torch_logits
from pfedge_runtime import Classifier, forget
from pfedge_runtime.engines import run_selftest
from pfedge_runtime.errors import UsageError


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    return export_run(tiny_run, ExportSettings(out=tmp_path_factory.mktemp("export") / "bundle", parity_inputs=0))


def test_parity_on_every_test_image_at_every_bank_size(exported):
    _, report = exported
    assert report.passed
    assert [(bank.rows, bank.inputs) for bank in report.banks] == [(3, 30), (1, 30), (1, 30), (2, 30)]
    assert max(bank.largest_difference for bank in report.banks) < 1e-4


def test_the_bundle_predicts_what_the_trained_model_predicts(exported, tiny_run, coloured_npz):
    bundle, _ = exported
    model = load_model(tiny_run)
    test = load_dataset(str(coloured_npz), image_size=14).test
    images = test.batch(np.arange(len(test)), bundle.manifest.preprocess)
    rows = torch.arange(3).expand(len(images), 3)
    with torch.no_grad():
        expected = model(torch.from_numpy(images), rows).numpy()
    _, logits = Classifier.open(bundle.path).logits(images)
    assert np.abs(logits - expected).max() < 1e-4


def test_no_prompt_at_all_is_legal(exported, tiny_run, coloured_npz):
    import onnxruntime

    bundle, _ = exported
    bank = bundle.bank()
    images = load_dataset(str(coloured_npz), image_size=14).test.batch(np.arange(5), bundle.manifest.preprocess)
    session = onnxruntime.InferenceSession(bundle.graph_path, providers=["CPUExecutionProvider"])
    none = np.zeros((0, 1, 32), np.float32)
    feed = {"images": images, "prompts": none, "head_weight": bank.head_weight, "head_bias": bank.head_bias}
    with torch.no_grad():
        expected = load_model(tiny_run)(torch.from_numpy(images), None).numpy()
    assert np.abs(session.run(["logits"], feed)[0] - expected).max() < 1e-4


def test_after_forgetting_the_bundle_equals_torch_on_the_smaller_bank(tiny_run, coloured_npz, tmp_path):
    bundle, _ = export_run(tiny_run, ExportSettings(out=tmp_path / "bundle"))
    images = load_dataset(str(coloured_npz), image_size=14).test.batch(np.arange(20), bundle.manifest.preprocess)
    forget(bundle.path, ["1"])
    classifier = Classifier.open(bundle.path)
    bank, logits = classifier.logits(images)
    assert bank.class_ids == (0, 3)
    expected = torch_logits(load_model(tiny_run).deployable(), images, bank)
    assert np.abs(logits - expected).max() < 1e-4
    assert run_selftest(bundle, classifier._engine).passed


def test_no_byte_of_a_row_is_in_the_graph_but_the_position_embeddings_are(exported, tiny_run):
    bundle, _ = exported
    data = bundle.graph_path.read_bytes()
    for class_id in bundle.bank().class_ids:
        for part in ("prompts", "head_weight"):
            assert bundle.bank().row(class_id)[part].tobytes() not in data
    positions = load_model(tiny_run).backbone.vit.embeddings.position_embeddings
    assert positions.detach().numpy().tobytes() in data


def test_the_manifest_says_what_forgetting_cannot_reach(exported):
    reach = exported[0].manifest.reach
    assert reach == {"rows": 3 * (32 + 32 + 1), "shared": 2 * 2 * 2 * 4 * 32}


@pytest.mark.slow
def test_the_graph_runs_in_openvino_too(exported, coloured_npz):
    openvino = pytest.importorskip("openvino")
    bundle, _ = exported
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(bundle.graph_path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    images = load_dataset(str(coloured_npz), image_size=14).test.batch(np.arange(16), bundle.manifest.preprocess)
    classifier = Classifier.open(bundle.path)
    for bank in (classifier.bank, classifier.bank.drop({1}), classifier.bank.select({3})):
        feed = {
            "images": images,
            **{name: np.array(getattr(bank, name)) for name in ("prompts", "head_weight", "head_bias")},
        }
        logits = compiled(feed)["logits"]
        assert np.abs(logits - classifier._engine.run(images, bank).logits).max() < 1e-3


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"tolerance": float("inf")}, "a tolerance is a number from 0 on"),
        ({"tolerance": float("nan")}, "a tolerance is a number from 0 on"),
        ({"quantization": "static"}, "is of --precision int8, not of fp32"),
        ({"precision": "int4"}, "unknown precision"),
    ],
)
def test_choices_are_checked_before_any_work(options, why, tiny_run, tmp_path):
    said = []
    with pytest.raises(UsageError, match=why):
        export_run(tiny_run, ExportSettings(out=tmp_path / "bundle", **options), on_progress=said.append)
    assert said == []


def test_a_tolerance_of_zero_is_one(tiny_run, tmp_path):
    with pytest.raises(ParityError):
        export_run(tiny_run, ExportSettings(out=tmp_path / "bundle", tolerance=0.0))
    assert list(tmp_path.iterdir()) == []
