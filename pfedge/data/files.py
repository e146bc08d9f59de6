"""Data sets that are folders of files: images or sounds, one folder a class.

    load_folder(Path("blood112"))       # root/{train,val,test}/<class>/*, or without val, or root/<class>/*

Classes are the sorted names below `train` (or the root); a name such as `3_ig` keeps its number out of the class
name when all names are numbered 0, 1, 2, ..., and so does ESC's `009 - Rooster`. What is not split is split here,
class by class, always the same way: see `SPLITS`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pfedge.data.dataset import Dataset, Split, stratified
from pfedge.errors import DataError
from pfedge_runtime.inputs import IMAGE_SUFFIXES, SOUND_SUFFIXES, read_image, read_sound

SPLITS = ("train", "val", "test")
UNSPLIT = (0.6, 0.2)  # train and val where nothing is split; the rest is test
HELD_OUT = 0.1  # val where the training split is whole
ESC_CLIP = re.compile(r"(\d)-\d+-[A-Z](?:-\d+)?")


def folder_kind(root: Path) -> str:
    """Return `audio` if the first image or sound found below `root` is a sound, else `image`."""
    for file in root.rglob("*"):
        suffix = file.suffix.lower()
        if suffix in SOUND_SUFFIXES:
            return "audio"
        if suffix in IMAGE_SUFFIXES:
            return "image"
    return "image"


def load_folder(root: Path, *, test_fold: int | None = None, source_column: str | None = None) -> Dataset:
    """Load the folder; files are decoded when they are asked for.

    Args:
        root: the folder.
        test_fold: which fold to test on, where the files are named like ESC's clips; None is the last.
        source_column: a column of `<split>/metadata.csv`: where each file of its column `file_name` comes from.

    Raises:
        DataError: a split or its files are missing, or a split has a class that `train` has not.
    """
    kind = folder_kind(root)
    here = {split for split in SPLITS if (root / split).is_dir()}
    if not here:
        return _load_unsplit(root, kind, test_fold)
    missing = {"train", "test"} - here
    if missing:
        message = f"{root} lacks {' and '.join(sorted(missing))} (expected train and test, or class folders alone)"
        raise DataError(message)
    names = _class_folders(root / "train")
    parts = {split: _find(root / split, names, kind) for split in SPLITS if split in here}
    if "val" not in parts:
        files, labels = parts["train"]
        rest, held_out = stratified(np.array(labels), (1 - HELD_OUT,))
        parts["train"], parts["val"] = [
            ([files[i] for i in part], [labels[i] for i in part]) for part in (rest, held_out)
        ]
    splits = {split: file_split(*parts[split], kind) for split in SPLITS}
    if source_column is not None:
        tables = {split: _read_sources(root / split, source_column) for split in here}
        known = {path: source for table in tables.values() for path, source in table.items()}
        for split, (files, _) in parts.items():
            unknown = [file for file in files if file not in known]
            if unknown:
                message = f"metadata.csv says no {source_column} of {unknown[0]} and {len(unknown) - 1} more"
                raise DataError(message)
            splits[split] = replace(splits[split], sources=np.array([known[file] for file in files], dtype=np.str_))
    return Dataset(root.resolve().name, _class_names(names), splits["train"], splits["val"], splits["test"], kind)


def _read_sources(folder: Path, column: str) -> dict[Path, str]:
    """Return file -> source from the folder's metadata.csv, in the layout of Hugging Face's `imagefolder`."""
    path = folder / "metadata.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {folder / row["file_name"]: row[column] for row in csv.DictReader(file)}
    except (OSError, KeyError, TypeError, UnicodeDecodeError, csv.Error) as error:
        message = f"{path} does not give the columns file_name and {column}: {error!r}"
        raise DataError(message) from error


def file_split(files: Sequence[Path], labels: Sequence[int], kind: str) -> Split:
    """Return a split over image or sound files."""
    read = read_sound if kind == "audio" else read_image
    return Split(labels=np.array(labels, dtype=np.int64), item=lambda position: read(files[position]))


def split_by_fold(folds: Sequence[int], test_fold: int | None) -> list[list[int]]:
    """Return the indices of train, val and test: one fold to test on, the fold before it to validate on.

    The folds of the published audio sets keep clips of one recording together; a random split would not.

    Raises:
        DataError: there is no such fold, or there are fewer than three.
    """
    known = sorted(set(folds))
    test = known[-1] if test_fold is None else test_fold
    if test not in known or len(known) < len(SPLITS):
        message = f"cannot test on fold {test}: there are the folds {', '.join(map(str, known))}, three are needed"
        raise DataError(message)
    val = known[known.index(test) - 1]
    parts: list[list[int]] = [[], [], []]
    for index, fold in enumerate(folds):
        parts[2 if fold == test else 1 if fold == val else 0].append(index)
    return parts


def _load_unsplit(root: Path, kind: str, test_fold: int | None) -> Dataset:
    """Split class folders by the folds in ESC's file names where every file has one, else at random."""
    names = _class_folders(root)
    files, labels = _find(root, names, kind)
    clips = [ESC_CLIP.fullmatch(file.stem) for file in files]
    if all(clips):
        parts = split_by_fold([int(clip[1]) for clip in clips if clip], test_fold)
    else:
        if test_fold is not None:
            message = f"{root} has no folds to test on"
            raise DataError(message)
        parts = [part.tolist() for part in stratified(np.array(labels), UNSPLIT)]
    train, val, test = (file_split([files[i] for i in part], [labels[i] for i in part], kind) for part in parts)
    return Dataset(root.resolve().name, _class_names(names), train, val, test, kind)


def _class_folders(folder: Path) -> list[str]:
    names = sorted((entry.name for entry in folder.iterdir() if entry.is_dir()), key=_natural)
    if not names:
        message = f"{folder} has no class folders"
        raise DataError(message)
    return names


def _find(folder: Path, names: list[str], kind: str) -> tuple[list[Path], list[int]]:
    """Return files and labels of one split."""
    unknown = sorted({entry.name for entry in folder.iterdir() if entry.is_dir()} - set(names))
    if unknown:
        message = f"{folder} has classes that train has not: {', '.join(unknown)}"
        raise DataError(message)
    suffixes = SOUND_SUFFIXES if kind == "audio" else IMAGE_SUFFIXES
    files, labels = [], []
    for label, name in enumerate(names):
        found = sorted(file for file in (folder / name).glob("*") if file.suffix.lower() in suffixes)
        files += found
        labels += [label] * len(found)
    if not files:
        message = f"{folder} holds no image and no sound"
        raise DataError(message)
    return files, labels


def _natural(name: str) -> tuple[int, str]:
    number = re.match(r"\d+", name)
    return (int(number.group()) if number else -1, name)


def _class_names(names: list[str]) -> tuple[str, ...]:
    """Strip leading class ids (`3_ig`) when they are exactly the ids, and ESC's category numbers (`009 - Rooster`)."""
    parts = [re.match(r"(\d+)[ _-]+(.+)", name) for name in names]
    if all(part and int(part[1]) == label for label, part in enumerate(parts)):
        return tuple(part[2] for part in parts if part)
    esc = [re.fullmatch(r"\d{3} - (.+)", name) for name in names]
    stripped = [part[1] for part in esc if part]
    return tuple(stripped if len(set(stripped)) == len(names) else names)
