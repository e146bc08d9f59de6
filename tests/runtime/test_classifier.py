from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from PIL import Image

from pfedge_runtime import Bundle, Classifier, forget
from pfedge_runtime.engines import open_engine
from pfedge_runtime.errors import InputError, ProviderError, UsageError


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


@pytest.mark.parametrize("sources", [["only one"], [str(number) for number in range(9)], "only one"])
def test_as_many_names_as_inputs(bundle_path, golden, sources):
    with pytest.raises(UsageError, match=r"8 inputs and \d sources"):
        Classifier.open(bundle_path).predict(golden["images"], sources=sources)


def test_a_list_of_images_of_any_sizes_is_resized_as_files_are(bundle_path, tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((14, 14), (40, 30), (9, 50))]
    for position, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{position}.png")
    classifier = Classifier.open(bundle_path, batch_size=2)
    files = [tmp_path / f"{position}.png" for position in range(3)]
    from_list = classifier.predict(images, sources=[str(file) for file in files])
    assert from_list == list(classifier.predict_files(files))
    assert classifier.predict(tuple(images[:1])) == classifier.predict(images[0][None])
    assert classifier.predict([]) == []


def test_what_is_no_image_in_a_list_is_named_by_its_position(bundle_path, golden):
    images = [*golden["images"][:4], np.zeros((14, 14, 3), np.float32)]
    with pytest.raises(InputError, match=r"input 4: an image must be uint8 \[height, width, 3\], got float32"):
        Classifier.open(bundle_path, batch_size=3).predict(images)


def test_scores_of_another_number_of_rows_are_no_prediction(bundle_path, golden):
    classifier = Classifier.open(bundle_path)
    run = classifier._engine.run
    classifier._engine.run = lambda inputs, bank: run(inputs, bank.drop({3}))
    with pytest.raises(ProviderError, match=r"scores \[8, 9\] for 8 inputs and 10 rows"):
        classifier.predict(golden["images"])


def test_a_pickled_classifier_opens_the_bundle_again(bundle_path, golden, monkeypatch, tmp_path):
    monkeypatch.chdir(bundle_path.parent)
    classifier = Classifier.open(bundle_path.name, batch_size=3, min_probability=0.1)
    data = pickle.dumps(classifier)
    monkeypatch.chdir(tmp_path)
    row = Bundle.open(bundle_path).bank().head_weight[3]
    assert row.tobytes() not in data
    elsewhere = pickle.loads(data)  # noqa: S301 -- its own
    assert elsewhere.predict(golden["images"]) == classifier.predict(golden["images"])
    forget(bundle_path, ["3"])
    assert 3 not in pickle.loads(data).predict(golden["images"])[0].coverage  # noqa: S301 -- as above


def test_a_classifier_goes_to_a_spawned_process(bundle_path, golden):
    classifier = Classifier.open(bundle_path)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(classifier.predict, golden["images"]).result() == classifier.predict(golden["images"])


def test_a_classifier_with_an_engine_of_ones_own_says_that_it_cannot_be_pickled(bundle_path):
    bundle = Bundle.open(bundle_path)
    with pytest.raises(UsageError, match=r"call Classifier\.open there"):
        pickle.dumps(Classifier(bundle, open_engine(bundle)))
