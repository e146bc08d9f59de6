from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from PIL import Image

from pfedge.data import data_kind, load_dataset
from pfedge.data.dataset import stratified
from pfedge.errors import DataError
from pfedge_runtime.errors import UnknownClassError
from pfedge_runtime.inputs import AudioPreprocess, ImagePreprocess

PREPROCESS = ImagePreprocess(14, 14)


def arrays(shape=(6, 9, 9, 3), classes=3, seed=0):
    rng = np.random.default_rng(seed)
    made = {}
    for split in ("train", "val", "test"):
        made[f"{split}_images"] = rng.integers(0, 256, shape, dtype=np.uint8)
        made[f"{split}_labels"] = (np.arange(shape[0]) % classes)[:, None].astype(np.uint8)
    return made


def write_folder(root, names=("0_cat", "1_dog"), splits=("train", "val", "test")):
    for split in splits:
        for value, name in enumerate(names):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(2):
                Image.new("RGB", (20, 16), (value * 100, index, 0)).save(folder / f"{index}.png")
    return root


def test_digits_need_nothing_and_are_always_split_alike():
    first, second = load_dataset("digits", image_size=28), load_dataset("digits", image_size=28)
    assert first.classes == tuple("0123456789")
    assert sum(len(split) for split in (first.train, first.val, first.test)) == 1797
    assert np.array_equal(first.train.labels, second.train.labels)
    assert set(first.present()) == set(range(10))
    batch = first.test.batch(np.arange(5), PREPROCESS)
    assert batch.shape == (5, 14, 14, 3)
    assert batch.dtype == np.uint8
    assert (batch[..., 0] == batch[..., 2]).all()


def test_npz_in_medmnist_layout(tmp_path):
    made = arrays()
    np.savez(tmp_path / "cells.npz", **made, classes=np.array(["a", "b", "c"]))
    dataset = load_dataset(str(tmp_path / "cells.npz"), image_size=9)
    assert (dataset.name, dataset.classes) == ("cells", ("a", "b", "c"))
    batch = dataset.val.batch(np.array([2, 0]), ImagePreprocess(9, 9))
    assert np.array_equal(batch, made["val_images"][[2, 0]])


def test_grey_npz_becomes_rgb(tmp_path):
    np.savez(tmp_path / "grey.npz", **arrays(shape=(6, 9, 9)))
    batch = load_dataset(str(tmp_path / "grey.npz"), image_size=9).train.batch(np.arange(3), ImagePreprocess(9, 9))
    assert batch.shape == (3, 9, 9, 3)
    assert (batch[..., 0] == batch[..., 1]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"val_images": None}, "lacks val_images"),
        ({"train_images": np.zeros((6, 9, 9, 4), np.uint8)}, r"must hold uint8 images"),
        ({"train_images": np.zeros((6, 9, 9, 3))}, "float64"),
        ({"train_images": np.zeros((5, 9, 9, 3), np.uint8)}, "5, 9, 9, 3.* and 6 labels"),
        ({"test_labels": np.zeros((6, 14), np.uint8)}, "multi-label"),
        ({"test_labels": np.full((6, 1), -1)}, r"labels -1\.\.-1"),
        ({"train_labels": np.array(["a"] * 6)}, "one integer label an image"),
        ({"train_labels": np.full(6, np.nan)}, "one integer label an image, got float64"),
        ({"train_labels": np.array(3)}, "one integer label an image"),
        ({"train_labels": np.zeros((6, 0), np.uint8)}, "one integer label an image"),
    ],
)
def test_npz_of_another_layout_is_refused(tmp_path, change, words):
    made = {name: value for name, value in {**arrays(), **change}.items() if value is not None}
    np.savez(tmp_path / "odd.npz", **made)
    with pytest.raises(DataError, match=words):
        load_dataset(str(tmp_path / "odd.npz"), image_size=9)


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "flipped"])
def test_a_damaged_npz_is_named(tmp_path, damage):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays())
    whole = buffer.getvalue()
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF
    path = tmp_path / "damaged.npz"
    path.write_bytes(
        {"truncated": whole[: len(whole) // 2], "text": b"hello", "empty": b"", "flipped": bytes(flipped)}[damage]
    )
    with pytest.raises(DataError, match=r"damaged\.npz is damaged or not an \.npz"):
        load_dataset(str(path), image_size=9)


def test_pickles_are_never_loaded(tmp_path):
    made = arrays()
    made["train_labels"] = np.array([{"code": 1}] * 6, dtype=object)
    np.savez(tmp_path / "pickled.npz", **made)
    with pytest.raises(DataError, match="damaged or not"):
        load_dataset(str(tmp_path / "pickled.npz"), image_size=9)


def test_an_image_folder(tmp_path):
    dataset = load_dataset(str(write_folder(tmp_path / "pets")), image_size=14)
    assert (dataset.name, dataset.classes) == ("pets", ("cat", "dog"))
    assert dataset.train.labels.tolist() == [0, 0, 1, 1]
    assert dataset.test.batch(np.array([2]), PREPROCESS)[0, 0, 0].tolist() == [100, 0, 0]


def test_folder_names_that_are_not_ids_stay_whole(tmp_path):
    assert load_dataset(str(write_folder(tmp_path / "a", names=("1_cat", "2_dog"))), image_size=14).classes == (
        "1_cat",
        "2_dog",
    )


def test_incomplete_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"lacks test \(expected"):
        load_dataset(str(write_folder(tmp_path / "a", splits=("train", "val"))), image_size=14)
    root = write_folder(tmp_path / "b")
    (root / "test" / "2_fox").mkdir()
    with pytest.raises(DataError, match="classes that train has not: 2_fox"):
        load_dataset(str(root), image_size=14)


def test_prepared_splits_hold_the_same_images(tmp_path):
    split = load_dataset(str(write_folder(tmp_path / "a")), image_size=14).train
    done = []
    prepared = split.prepared(PREPROCESS, done.append)
    index = np.array([3, 0, 2])
    assert np.array_equal(prepared.batch(index, PREPROCESS), split.batch(index, PREPROCESS))
    assert done == [1, 2, 3, 4]


def test_subsets_keep_images_and_labels_together():
    test = load_dataset("digits", image_size=28).test
    threes = test.only([3])
    assert set(threes.labels.tolist()) == {3}
    position = int(np.flatnonzero(test.labels == 3)[4])
    assert np.array_equal(threes.item(4), test.item(position))
    assert len(test.sample(20)) == 20
    assert np.array_equal(test.sample(20, seed=1).labels, test.sample(20, seed=1).labels)
    assert test.sample(0) is test


def test_stratified_parts_are_a_partition():
    labels = np.repeat([0, 1, 5], [10, 20, 30])
    parts = stratified(labels, (0.5, 0.2))
    assert sorted(np.concatenate(parts).tolist()) == list(range(60))
    assert [np.bincount(labels[part])[[0, 1, 5]].tolist() for part in parts] == [[5, 10, 15], [2, 4, 6], [3, 6, 9]]


def test_train_split_and_classes_by_name(tmp_path):
    np.savez(tmp_path / "cells.npz", **arrays(), classes=np.array(["a", "b", "c"]))
    dataset = load_dataset(str(tmp_path / "cells.npz"), image_size=9, train_split="val")
    ordinary = load_dataset(str(tmp_path / "cells.npz"), image_size=9)
    assert np.array_equal(dataset.train.item(0), ordinary.val.item(0))
    assert np.array_equal(dataset.val.item(0), ordinary.train.item(0))  # never calibrate on what was trained on
    assert dataset.class_id("b") == dataset.class_id("1") == 1
    with pytest.raises(UnknownClassError, match="unknown class 'z'; known are: 0 a, 1 b, 2 c"):
        dataset.class_id("z")
    with pytest.raises(DataError, match="choose train or val"):
        load_dataset("digits", image_size=28, train_split="test")


def test_unknown_names_say_what_is_known():
    with pytest.raises(DataError, match=r"no data set 'nosuch'.*bloodmnist"):
        load_dataset("nosuch", image_size=28)


def test_medmnist_files_are_found_by_size(tmp_path):
    np.savez(tmp_path / "bloodmnist.npz", **arrays(shape=(8, 28, 28, 3), classes=8))
    np.savez(tmp_path / "bloodmnist_64.npz", **arrays(shape=(8, 64, 64, 3), classes=8))
    options = {"data_root": tmp_path, "download": False}
    assert load_dataset("bloodmnist", image_size=28, **options).train.item(0).shape == (28, 28, 3)
    large = load_dataset("bloodmnist", image_size=56, **options)
    assert large.train.item(0).shape == (64, 64, 3)
    assert large.classes[0] == "basophil"
    assert load_dataset("bloodmnist", image_size=28, size=64, **options).train.item(0).shape == (64, 64, 3)
    with pytest.raises(DataError, match=r"bloodmnist_224\.npz does not exist \(it has bloodmnist\.npz, bloodmnist_64"):
        load_dataset("bloodmnist", image_size=224, **options)
    with pytest.raises(DataError, match="no size 32"):
        load_dataset("bloodmnist", image_size=28, size=32, **options)


@pytest.mark.parametrize("download", [True, False])
def test_a_missing_data_root_is_named_and_not_made(tmp_path, download):
    with pytest.raises(
        DataError, match=r"no data root .*nowhere: give the folder that holds bloodmnist\.npz with --data-root"
    ):
        load_dataset("bloodmnist", image_size=28, data_root=tmp_path / "nowhere", download=download)
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_called_like_a_known_set_is_that_only_by_path(tmp_path, monkeypatch):
    write_folder(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert len(load_dataset("digits", image_size=14).classes) == 10
    assert load_dataset("./digits", image_size=14).classes == ("cat", "dog")


def test_a_failed_download_is_one_clear_line(tmp_path, monkeypatch):
    def unreachable(*_):
        message = "Something went wrong when downloading!\nGo to the homepage"
        raise RuntimeError(message)

    monkeypatch.setattr("torchvision.datasets.utils.download_url", unreachable)
    with pytest.raises(DataError, match=r"could not be downloaded: .*--data-root") as caught:
        load_dataset("bloodmnist", image_size=28, data_root=tmp_path)
    assert "\n" not in str(caught.value)


def test_medmnist_makes_no_folder_below_home(tmp_path):
    np.savez(tmp_path / "bloodmnist.npz", **arrays(shape=(8, 28, 28, 3), classes=8))
    script = (
        "import sys; from pathlib import Path; from pfedge.data import load_dataset\n"
        "load_dataset('bloodmnist', image_size=28, data_root=Path(sys.argv[1]))\n"
        "assert 'medmnist' not in sys.modules"
    )
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True, env={**os.environ, "HOME": str(home)})
    assert not list(home.iterdir())


def test_multi_label_chestmnist_is_refused(tmp_path):
    with pytest.raises(DataError, match="chestmnist is a multi-label set"):
        load_dataset("chestmnist", image_size=28, data_root=tmp_path, download=False)


@pytest.mark.parametrize(
    ("name", "classes", "grey"),
    [
        ("bloodmnist", 8, False),
        ("dermamnist", 7, False),
        ("octmnist", 4, True),
        ("organcmnist", 11, True),
        ("organsmnist", 11, True),
    ],
)
def test_the_papers_five_sets_load(shared_data, name, classes, grey):
    dataset = load_dataset(name, image_size=28, data_root=shared_data / "medmnist", download=False)
    assert len(dataset.classes) == classes
    batch = dataset.train.batch(np.arange(4), ImagePreprocess(28, 28))
    assert batch.shape == (4, 28, 28, 3)
    assert ((batch[..., 0] == batch[..., 1]).all()) == grey


def test_a_class_without_training_images_is_not_present(shared_data):
    dataset = load_dataset("organcmnist", image_size=28, data_root=shared_data / "medmnist", download=False)
    assert 3 not in dataset.present()


def test_a_real_image_folder(shared_data):
    dataset = load_dataset(str(shared_data / "blood112"), image_size=112)
    assert dataset.classes == (
        "basophil",
        "eosinophil",
        "erythroblast",
        "ig",
        "lymphocyte",
        "monocyte",
        "neutrophil",
        "platelet",
    )
    assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [2400, 320, 480]


def write_cifar(root, *, labels=1, classes=10, per_file=40):
    """Records as published: label bytes, then 32 x 32 red, green and blue."""
    folder = root / ("cifar-10-batches-bin" if labels == 1 else "cifar-100-binary")
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    files = (
        [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"] if labels == 1 else ["train.bin", "test.bin"]
    )
    for file in files:
        records = rng.integers(0, 256, (per_file, labels + 3072), dtype=np.uint8)
        records[:, labels - 1] = np.arange(per_file) % classes
        records[:, labels : labels + 1024] = 200  # red
        records.tofile(folder / file)
    names = "batches.meta.txt" if labels == 1 else "fine_label_names.txt"
    (folder / names).write_text("\n".join(f"thing{i}" for i in range(classes)) + "\n\n")
    return folder


@pytest.mark.parametrize(("name", "labels", "classes"), [("cifar10", 1, 10), ("cifar100", 2, 20)])
def test_cifar_in_its_binary_layout(tmp_path, name, labels, classes):
    folder = write_cifar(tmp_path, labels=labels, classes=classes)
    for root in (tmp_path, folder):
        dataset = load_dataset(name, data_root=root)
        assert dataset.classes[:2] == ("thing0", "thing1")
        assert len(dataset.train) + len(dataset.val) == (200 if labels == 1 else 40)
        assert len(dataset.test) == 40
        assert dataset.test.labels[:3].tolist() == [0, 1, 2]
        image = dataset.test.item(5)
        assert image.shape == (32, 32, 3)
        assert (image[..., 0] == 200).all()
        assert not (image[..., 1] == 200).all()


def test_cifar_truncated_pickled_or_absent_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no binary version of cifar10 below .*https://"):
        load_dataset("cifar10", data_root=tmp_path)
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(DataError, match="pickles are never read"):
        load_dataset("cifar10", data_root=tmp_path)
    folder = write_cifar(tmp_path)
    (folder / "data_batch_3.bin").write_bytes((folder / "data_batch_3.bin").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data_batch_3\.bin is truncated"):
        load_dataset("cifar10", data_root=tmp_path)


def test_a_folder_without_val_holds_some_of_train_out(tmp_path):
    root = write_folder(tmp_path / "animals")
    before = load_dataset(str(root))
    shutil.rmtree(root / "val")
    dataset = load_dataset(str(root))
    assert len(dataset.train) + len(dataset.val) == len(before.train)
    assert len(dataset.test) == len(before.test)


def test_real_cifar_images_in_a_folder(shared_data):
    dataset = load_dataset(str(shared_data / "cifar10"))
    assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [1800, 200, 500]
    assert np.bincount(dataset.val.labels).tolist() == [20] * 10


def test_a_folder_of_sounds_is_split_by_class(tones):
    assert data_kind(str(tones)) == "audio"
    dataset = load_dataset(str(tones))
    assert (dataset.kind, dataset.classes) == ("audio", ("hz200", "hz3200", "hz800"))
    assert [np.bincount(split.labels).tolist() for split in (dataset.train, dataset.val, dataset.test)] == [
        [12] * 3,
        [4] * 3,
        [4] * 3,
    ]
    features = dataset.train.batch(np.arange(2), AudioPreprocess(frames=32, mels=16))
    assert (features.shape, features.dtype) == ((2, 32, 16), np.float32)


def test_what_is_seen_and_what_is_heard_are_not_mixed_up(tones):
    with pytest.raises(DataError, match="tones is audio data, the backbone x takes image data"):
        load_dataset(str(tones)).require_kind(ImagePreprocess(28, 28), backbone="x")


def test_real_esc10_keeps_its_folds(shared_data):
    for name, root in (("esc10", shared_data / "audio"), (str(shared_data / "audio" / "esc10"), None)):
        assert data_kind(name) == "audio"
        dataset = load_dataset(name, data_root=root)
        assert dataset.classes[8] == "Rooster"
        assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [240, 80, 80]
    other = load_dataset("esc10", data_root=shared_data / "audio", test_fold=1)
    last = load_dataset("esc10", data_root=shared_data / "audio", test_fold=5)
    assert not np.array_equal(other.test.item(0).samples, last.test.item(0).samples)
    with pytest.raises(DataError, match="cannot test on fold 7"):
        load_dataset("esc10", data_root=shared_data / "audio", test_fold=7)


def write_esc50(root):
    (root / "meta").mkdir(parents=True)
    (root / "audio").mkdir()
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, category in ((0, "dog"), (1, "rooster"), (2, "pig")):
            name = f"{fold}-{fold}00-A-{target}.wav"
            soundfile.write(root / "audio" / name, np.random.default_rng(fold).normal(0, 0.1, 8_000), 16_000)
            rows.append(f"{name},{fold},{target},{category},{target != 0},{fold}00,A")
    (root / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n")
    return root


def test_esc50_and_its_subset_as_published(tmp_path):
    root = write_esc50(tmp_path / "ESC-50-master")
    whole = load_dataset("esc50", data_root=tmp_path)
    assert whole.classes == ("dog", "rooster", "pig")
    assert [len(split) for split in (whole.train, whole.val, whole.test)] == [9, 3, 3]
    assert len(load_dataset(str(root)).classes) == 3
    assert load_dataset("esc10", data_root=tmp_path).classes == ("rooster", "pig")
    (root / "audio" / "2-200-A-1.wav").unlink()
    with pytest.raises(DataError, match=r"1 of 15 files are missing, first .*2-200-A-1\.wav"):
        load_dataset("esc50", data_root=tmp_path)
    (root / "meta" / "esc50.csv").write_text("filename,target\na.wav,0\n")
    with pytest.raises(DataError, match=r"esc50\.csv is damaged"):
        load_dataset("esc50", data_root=tmp_path)


def test_urbansound8k_as_published(tmp_path):
    root = tmp_path / "UrbanSound8K"
    (root / "metadata").mkdir(parents=True)
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for fold in range(1, 11):
        (root / "audio" / f"fold{fold}").mkdir(parents=True)
        name = f"{fold}-3-0-0.wav"
        soundfile.write(root / "audio" / f"fold{fold}" / name, np.random.default_rng(0).normal(0, 0.1, 800), 16_000)
        rows.append(f"{name},{fold},0,1,1,{fold},{fold % 2},{('air_conditioner', 'car_horn')[fold % 2]}")
    (root / "metadata" / "UrbanSound8K.csv").write_text("\n".join(rows))
    dataset = load_dataset("urbansound8k", data_root=tmp_path)
    assert dataset.classes == ("air_conditioner", "car_horn")
    assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [8, 1, 1]


def test_audio_sets_that_are_not_there_are_named(tmp_path):
    with pytest.raises(DataError, match="give the folder it was unpacked in with --data-root"):
        load_dataset("esc50")
    with pytest.raises(DataError, match=r"urbansound8k is not below .*metadata/UrbanSound8K\.csv"):
        load_dataset("urbansound8k", data_root=tmp_path)


def test_the_home_folder_of_nobody_is_a_clear_error():
    for load in (load_dataset, data_kind):
        with pytest.raises(DataError, match="nobody of that name"):
            load("~nosuchuser/x.npz")
