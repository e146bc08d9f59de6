"""What of a folder is a split, a class and a file, and what is left out; which class has which id."""

from __future__ import annotations

import shutil
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from pfedge.backbone import load_backbone, plain_preprocessor
from pfedge.data import difference, load_dataset, read_classes, require_same
from pfedge.errors import BackboneError, DataError, RunError
from pfedge.guarantees import ExactConfig, load_model, train
from pfedge.runs.run import UNREADABLE, Run
from pfedge.training import TrainSettings
from pfedge_runtime.bundle import class_text, find_class
from pfedge_runtime.errors import UsageError

QUIET = Console(quiet=True)
COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


def write(root, names=("cat", "dog"), splits=("train", "val", "test"), count=3):
    for split in splits:
        for value, name in enumerate(names):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (16, 16), (value * 100, 40 * index, 0)).save(folder / f"{index}.png")
    return root


@pytest.mark.parametrize("foreign", [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".git", "lost+found", "$RECYCLE.BIN"])
@pytest.mark.parametrize("splits", [("train", "val", "test"), ("",)])
def test_folders_of_other_programs_are_no_classes(tmp_path, foreign, splits):
    root = write(tmp_path / "pets", splits=splits, count=5)
    for folder in (root / splits[0], root / splits[-1], root / splits[0] / "cat"):
        shutil.copytree(root / splits[0] / "dog", folder / foreign, dirs_exist_ok=True)
    (root / splits[0] / "dog" / "._0.png").write_bytes(b"\0\5\x16\7")
    dataset = load_dataset(str(root))
    assert dataset.classes == ("cat", "dog")
    assert sum(len(split) for split in dataset.splits.values()) == len(splits) * 2 * 5
    assert f"of other programs ({', '.join(sorted(['._0.png', foreign]))})" in dataset.notes[-1]
    assert [dataset.train.item(position).shape for position in range(len(dataset.train))]


def test_an_empty_folder_stays_a_class(tmp_path):
    root = write(tmp_path / "pets")
    (root / "train" / "bee").mkdir()
    dataset = load_dataset(str(root))
    assert dataset.classes == ("bee", "cat", "dog")
    assert dataset.present() == (1, 2)


def test_what_is_no_data_is_said(tmp_path):
    root = write(tmp_path / "pets")
    (root / "train" / "cat" / "notes.txt").write_text("words")
    Image.new("RGB", (4, 4)).save(root / "train" / "cover.png")
    assert load_dataset(str(root)).notes == ("2 files left out: 1 .txt, 1 beside the class folders",)


def test_images_in_folders_below_a_class_are_its_own(tmp_path):
    root = write(tmp_path / "pets")
    (root / "train" / "cat" / "visit-2").mkdir()
    shutil.copy(root / "train" / "cat" / "0.png", root / "train" / "cat" / "visit-2" / "0.png")
    assert load_dataset(str(root)).train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("name", ["valid", "validation", "dev", "VAL", "Validation"])
def test_a_split_may_be_called_otherwise(tmp_path, name):
    dataset = load_dataset(str(write(tmp_path / "pets", splits=("Training", name, "testing"))))
    assert [len(split) for split in dataset.splits.values()] == [6, 6, 6]
    assert f"{name} is taken for val" in dataset.notes
    assert "Training is taken for train" in dataset.notes


def test_two_folders_of_one_split_are_refused(tmp_path):
    with pytest.raises(DataError, match="two folders that mean val: val and valid"):
        load_dataset(str(write(tmp_path / "pets", splits=("train", "val", "valid", "test"))))


def test_folders_beside_the_splits_are_named(tmp_path):
    dataset = load_dataset(str(write(tmp_path / "pets", splits=("train", "test", "extra"))))
    assert dataset.notes == (f"left out beside the splits of {tmp_path / 'pets'}: extra",)


def test_valid_and_invalid_may_be_classes(tmp_path):
    dataset = load_dataset(str(write(tmp_path / "parts", splits=("",), names=("valid", "invalid"), count=5)))
    assert dataset.classes == ("invalid", "valid")


def test_names_are_compared_in_one_spelling(tmp_path):
    root = write(tmp_path / "a", names=(COMPOSED, "tea"), splits=("train",))
    write(root, names=(DECOMPOSED, "tea"), splits=("test",))
    dataset = load_dataset(str(root))
    assert dataset.classes == (COMPOSED, "tea")
    assert np.bincount(dataset.test.labels).tolist() == [3, 3]
    for text in (COMPOSED, DECOMPOSED):
        assert find_class(dataset.classes, text) == find_class([DECOMPOSED, "tea"], text) == dataset.class_id(text) == 0
    assert class_text([DECOMPOSED, "0"], 0) == DECOMPOSED


def test_two_folders_of_one_name_are_refused(tmp_path):
    root = write(tmp_path / "a", names=(COMPOSED, "tea"))
    if (root / "train" / DECOMPOSED).exists():
        pytest.skip("this file system compares names in one spelling")
    (root / "train" / DECOMPOSED).mkdir()
    with pytest.raises(DataError, match="two folders of one name in two Unicode spellings"):
        load_dataset(str(root))


def test_sources_are_found_in_either_spelling(tmp_path):
    root = write(tmp_path / "a", names=(DECOMPOSED, "tea"))
    for split in ("train", "val", "test"):
        rows = [f"{name}/{index}.png,{DECOMPOSED}" for name in (COMPOSED, "tea") for index in range(3)]
        (root / split / "metadata.csv").write_text("\n".join(["file_name,clinic", *rows]), encoding="utf-8")
    dataset = load_dataset(str(root), source_column="clinic")
    assert set(dataset.train.sources) == {COMPOSED}
    assert dataset.notes == ()


def test_a_list_fixes_the_ids(tmp_path):
    root = write(tmp_path / "pets")
    dataset = load_dataset(str(root), classes=("dog", "eel", "cat"))
    assert dataset.classes == ("dog", "eel", "cat")
    assert dataset.present() == (0, 2)
    with pytest.raises(DataError, match="classes that the list of classes has not: cat"):
        load_dataset(str(root), classes=("dog", "eel"))
    with pytest.raises(DataError, match="digits has class names of its own"):
        load_dataset("digits", classes=("dog", "eel"))


def test_a_list_names_the_labels_of_an_npz(tmp_path):
    images, labels = np.zeros((4, 9, 9, 3), np.uint8), np.array([0, 1, 0, 1])
    arrays = {
        f"{split}_{kind}": value
        for split in ("train", "val", "test")
        for kind, value in (("images", images), ("labels", labels))
    }
    np.savez(tmp_path / "cells.npz", **arrays)
    assert load_dataset(str(tmp_path / "cells.npz"), classes=("cat", "dog")).classes == ("cat", "dog")
    with pytest.raises(DataError, match=r"labels 0\.\.1, expected 0\.\.0"):
        load_dataset(str(tmp_path / "cells.npz"), classes=("cat",))


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "it is empty"), ("cat\n\ndog\n", "line 2 is empty"), ("cat\ncat\n", "names cat more than once")],
)
def test_a_list_that_is_none_is_refused(tmp_path, text, words):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        read_classes(tmp_path / "classes.txt")


def test_a_list_is_read_line_by_line(tmp_path):
    (tmp_path / "classes.txt").write_bytes(f"\ufeff#1 dog\r\n{DECOMPOSED}\r\n\r\n".encode())
    assert read_classes(tmp_path / "classes.txt") == ("#1 dog", COMPOSED)
    with pytest.raises(DataError, match="cannot read the class names"):
        read_classes(tmp_path / "nowhere.txt")


def test_differences_are_named():
    assert difference((DECOMPOSED, "dog"), (COMPOSED, "dog")) == ""
    assert difference(("cat", "dog"), ("bee", "cat", "dog")) == (
        "class 0 is 'cat', and 'bee' there, class 1 is 'dog', and 'cat' there, class 2 is nothing, and 'dog' there"
    )


def test_data_without_names_and_with_fewer_classes_contradict_nothing():
    for found in (("cat", "dog"), ("0", "1", "2"), ("cat",)):
        require_same(("cat", "dog"), found, name="pets")
    with pytest.raises(DataError, match="the class ids of pets are not those of training: class 0"):
        require_same(("cat", "dog"), ("dog",), name="pets")


@pytest.fixture
def pets(tmp_path):
    return write(tmp_path / "pets")


def recipe(root, **changes):
    return ExactConfig(dataset=str(root), model_name="builtin:micro", embedding_dim=16, **changes)


def settings(tmp_path, **changes):
    return TrainSettings(out=tmp_path / "run", save_dir=tmp_path / "run", device="cpu", **changes)


def test_a_run_remembers_its_list_and_refuses_another_mapping(pets, tmp_path):
    run, _ = train(recipe(pets, classes=("dog", "cat")), settings(tmp_path), QUIET)
    opened = Run.open(run.folder)
    assert opened.config.classes == opened.config.train.classes == opened.load_dataset(28).classes == ("dog", "cat")
    with pytest.raises(DataError, match="class 0 is 'dog', and 'cat' there"):
        opened.load_dataset(28, classes=("cat", "dog"))


def test_a_run_refuses_data_whose_ids_have_shifted(pets, tmp_path):
    run, _ = train(recipe(pets), settings(tmp_path), QUIET)
    for split in ("train", "val", "test"):
        shutil.copytree(pets / split / "dog", pets / split / "bee")
    with pytest.raises(DataError, match="class 0 is 'cat', and 'bee' there"):
        Run.open(run.folder).load_dataset(28)


def test_resuming_with_another_mapping_is_refused(tiny_run, tmp_path):
    folder = tmp_path / "run"
    Run.create(folder, tiny_run.config, resume=False, overwrite=False).save_progress(tiny_run.read_model().tensors)
    other = replace(tiny_run.config, classes=tiny_run.config.classes[::-1])
    with pytest.raises(RunError, match="its class ids are not those of the data now: class 0 is"):
        Run.create(folder, other, resume=True, overwrite=False)


def test_all_unreadable_files_are_named_or_left_out(pets, tmp_path):
    (pets / "train" / "cat" / "1.png").write_bytes(b"")
    (pets / "test" / "dog" / "2.png").write_bytes((pets / "test" / "dog" / "1.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"2 files of pets cannot be used: .*cat/1\.png.*dog/2\.png.*--skip-unreadable"):
        train(recipe(pets), settings(tmp_path), QUIET)
    assert not (tmp_path / "run").exists()
    run, _ = train(recipe(pets), settings(tmp_path, skip_unreadable=True), QUIET)
    lines = (run.folder / UNREADABLE).read_text().splitlines()
    assert ["train/cat/1.png" in lines[1], "test/dog/2.png" in lines[0]] == [True, True]
    later = Run.open(run.folder).load_dataset(28)
    assert [len(split) for split in later.splits.values()] == [5, 6, 5]


def test_every_split_may_be_limited(pets, tmp_path):
    _, metrics = train(recipe(pets, train_limit=5, val_limit=4, test_limit=3), settings(tmp_path), QUIET)
    assert np.sum(metrics.confusion) == 3


def test_a_missing_preprocessor_is_named_and_can_be_given(tiny_vit, pets, tmp_path):
    bare = shutil.copytree(tiny_vit, tmp_path / "bare")
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(BackboneError, match=r"lacks preprocessor_config\.json.*image_mean.*--mean --std"):
        load_backbone(str(bare))
    given = plain_preprocessor((0.5,), (0.2, 0.3, 0.4), "bicubic")
    backbone = load_backbone(str(bare), preprocessor=given)
    assert (backbone.preprocess.height, backbone.preprocess.resample) == (14, "bicubic")
    config = replace(recipe(pets), model_name=str(bare), preprocessor=given)
    run, _ = train(config, settings(tmp_path), QUIET)
    opened = Run.open(run.folder)
    assert opened.config.train.preprocessor == given
    assert load_model(opened).backbone.preprocess == backbone.preprocess


@pytest.mark.parametrize(
    ("mean", "std", "filter_"), [((0.5,), (0.0,), "bicubic"), ((0.5, 0.5), (0.2,), "bicubic"), ((0.5,), (0.2,), "best")]
)
def test_preprocessing_that_makes_no_sense_is_refused(mean, std, filter_):
    with pytest.raises(UsageError):
        plain_preprocessor(mean, std, filter_)
