from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pfedge_runtime import Bundle, Classifier, forget
from pfedge_runtime.errors import InputError, UsageError


def test_names_the_row_with_the_largest_logit(bundle_path, golden):
    predictions = Classifier.open(bundle_path, batch_size=3, use_thresholds=False).predict(golden["images"])
    assert [prediction.class_id for prediction in predictions] == golden["logits"].argmax(1).tolist()
    first = predictions[0]
    assert first.coverage == tuple(range(10))
    assert first.scores == pytest.approx(golden["logits"][0].tolist(), abs=1e-4)
    assert sum(first.probabilities) == pytest.approx(1)
    assert first.name == str(first.class_id)


def test_batching_changes_nothing(bundle_path, golden):
    _, one = Classifier.open(bundle_path, batch_size=1).logits(golden["images"])
    _, all_at_once = Classifier.open(bundle_path, batch_size=100).logits(golden["images"])
    assert np.abs(one - all_at_once).max() < 1e-4


def test_no_images_give_no_predictions(bundle_path):
    assert Classifier.open(bundle_path).predict(np.zeros((0, 14, 14, 3), np.uint8)) == []


def test_a_running_classifier_notices_a_forgotten_row(bundle_path, golden):
    classifier = Classifier.open(bundle_path)
    assert 3 in classifier.predict(golden["images"])[0].coverage
    forget(bundle_path, ["3"])
    after = classifier.predict(golden["images"])
    assert after[0].coverage == (0, 1, 2, 4, 5, 6, 7, 8, 9)
    fresh = Classifier.open(bundle_path).predict(golden["images"])
    assert after == fresh


def test_a_forget_between_two_batches_is_noticed(bundle_path, golden):
    classifier = Classifier.open(bundle_path, batch_size=4)
    run, calls = classifier._engine.run, []

    def forgetting_run(images, bank):
        calls.append(len(bank))
        logits = run(images, bank)
        if len(calls) == 1:
            forget(bundle_path, ["3"])
        return logits

    classifier._engine.run = forgetting_run
    coverages = [prediction.coverage for prediction in classifier.predict(golden["images"])]
    assert calls == [10, 9]
    assert all(3 in coverage for coverage in coverages[:4])
    assert all(3 not in coverage for coverage in coverages[4:])


def test_abstains_below_a_rows_threshold(bundle_path, golden):
    classifier = Classifier.open(bundle_path)
    threshold = Bundle.open(bundle_path).bank().threshold
    assert np.isfinite(threshold).all()
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (200, 14, 14, 3), dtype=np.uint8)
    outcomes = classifier.predict(noise)
    abstained = [prediction for prediction in outcomes if prediction.abstained]
    for prediction in abstained:
        assert "below its row's threshold" in prediction.reason
        assert prediction.to_json()["class"] is None
    for prediction in outcomes:
        assert prediction.abstained == (max(prediction.scores) < threshold[prediction.class_id])


def test_abstains_below_a_probability(bundle_path, golden):
    sure = Classifier.open(bundle_path, use_thresholds=False, min_probability=1.0).predict(golden["images"])
    assert all(prediction.abstained and "below 1.0" in prediction.reason for prediction in sure)


@pytest.mark.parametrize(
    "images", [np.zeros((1, 14, 14), np.uint8), np.zeros((1, 15, 14, 3), np.uint8), np.zeros((1, 14, 14, 3))]
)
def test_arrays_of_another_shape_are_refused(bundle_path, images):
    with pytest.raises(InputError, match=r"must be uint8 \['B', 14, 14, 3\]"):
        Classifier.open(bundle_path).predict(images)


def test_bad_options_are_refused(bundle_path):
    with pytest.raises(UsageError):
        Classifier.open(bundle_path, batch_size=0)
    with pytest.raises(UsageError):
        Classifier.open(bundle_path, min_probability=2)


def test_files_and_folders_equal_arrays(bundle_path, golden, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for position, image in enumerate(golden["images"]):
        Image.fromarray(image).save(folder / f"{position}.png")
    classifier = Classifier.open(bundle_path, batch_size=3)
    from_files = list(classifier.predict_files([folder, folder / "0.png"]))
    from_arrays = classifier.predict(golden["images"])
    scores = [[prediction.scores for prediction in predictions] for predictions in (from_files[:-1], from_arrays)]
    assert np.allclose(*scores, atol=1e-4)
    assert from_files[-1].source == str(folder / "0.png")


def test_an_unreadable_file_raises_or_is_reported(bundle_path, golden, tmp_path):
    Image.fromarray(golden["images"][0]).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    classifier = Classifier.open(bundle_path)
    paths = [tmp_path / "bad.png", tmp_path / "good.png", tmp_path / "missing.png"]
    with pytest.raises(InputError, match=r"bad\.png"):
        list(classifier.predict_files(paths))
    errors = []
    predictions = list(classifier.predict_files(paths, on_error=errors.append))
    assert [prediction.source for prediction in predictions] == [str(tmp_path / "good.png")]
    assert [str(error).split()[0] for error in errors] == [str(tmp_path / "bad.png"), "no"]


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_a_forget_opens_no_session_and_changes_no_file_but_the_bank(bundle_path, golden, device):
    if device == "openvino":
        pytest.importorskip("openvino")
    classifier = Classifier.open(bundle_path, device=device)
    engine = classifier._engine
    classifier.predict(golden["images"])
    before = {file.name: (file.stat().st_ino, file.read_bytes()) for file in bundle_path.iterdir()}
    for class_id in ("3", "5", "0"):
        forget(bundle_path, [class_id])
        assert int(class_id) not in classifier.predict(golden["images"])[0].coverage
    after = {file.name: (file.stat().st_ino, file.read_bytes()) for file in bundle_path.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"bank.safetensors"}
    assert set(after) - set(before) <= {".lock"}
    assert classifier._engine is engine
    assert (engine.sessions, engine.bindings) == (1, 4)


def test_frames_of_a_file_are_predicted_by_number(bundle_path, tmp_path):
    pages = [Image.new("L", (14, 14), value) for value in (0, 255)]
    path = tmp_path / "two.gif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    classifier = Classifier.open(bundle_path)
    with pytest.raises(InputError, match="has 2 frames"):
        list(classifier.predict_files([path]))
    both = list(classifier.predict_files([path], frame="all"))
    assert [one.source for one in both] == [f"{path}#1", f"{path}#2"]
    second = next(classifier.predict_files([path], frame=2))
    assert second.source == both[1].source
    assert second.scores == pytest.approx(both[1].scores, rel=1e-4)
    for frame in (0, "2", True, "every"):
        with pytest.raises(UsageError, match="a frame is a number from 1, or all"):
            list(classifier.predict_files([path], frame=frame))
    with pytest.raises(InputError, match="exceeds limit of 100"):
        list(classifier.predict_files([path], frame=1, max_pixels=100))
