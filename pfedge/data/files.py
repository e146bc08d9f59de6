"""Data sets that are folders of files: images or sounds, one folder a class.

    load_folder(Path("blood112"))       # root/{train,val,test}/<class>/**, or without val, or root/<class>/**

Classes are the sorted names below `train` (or the root); a name such as `3_ig` keeps its number out of the class
name when all names are numbered 0, 1, 2, ..., and so does ESC's `009 - Rooster`. What is not split is split here,
class by class, always the same way: see `UNSPLIT`. What is a split or a class, `pfedge.data.layout` tells; what is an
image or a sound, `pfedge_runtime.inputs` does.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pfedge.data.dataset import Dataset, Split, stratified
from pfedge.data.layout import SPLITS, class_folders, class_names, find_layout, own_folders
from pfedge.errors import DataError
from pfedge_runtime.inputs import LeftOut, first_kind, read_image, read_sound, search, search_beside
from pfedge_runtime.spelling import composed

UNSPLIT = (0.6, 0.2)  # train and val where nothing is split; the rest is test
HELD_OUT = 0.1  # val where the training split is whole
ESC_CLIP = re.compile(r"(\d)-\d+-[A-Z](?:-\d+)?")
SOURCES = "metadata.csv"


def folder_kind(root: Path) -> str:
    """Return `audio` if the first image or sound found in the folders of `root` is a sound, else `image`."""
    kinds = (first_kind(folder) for folder in own_folders(root))
    return next((kind for kind in kinds if kind is not None), "image")


def load_folder(
    root: Path,
    *,
    test_fold: int | None = None,
    source_column: str | None = None,
    classes: Sequence[str] = (),
) -> Dataset:
    """Load the folder; files are decoded when they are asked for.

    Args:
        root: the folder.
        test_fold: which fold to test on, where the files are named like ESC's clips; None is the last.
        source_column: a column of `<split>/metadata.csv`: where each file of its column `file_name` comes from.
        classes: names of class folders in the order of their ids; empty takes those that are there, sorted.

    Raises:
        DataError: a split or its files are missing, or a split has a class that `train` or `classes` has not.
    """
    kind = folder_kind(root)
    layout = find_layout(root)
    if not layout.splits:
        return _load_unsplit(root, kind, test_fold, classes)
    names = list(classes) or _require_classes(layout.splits["train"])
    whose = "the list of classes" if classes else "train"
    read = {SOURCES} if source_column is not None else set[str]()
    parts = {split: _find(folder, names, kind, whose=whose, read=read) for split, folder in layout.splits.items()}
    left_out = sum((part.left_out for part in parts.values()), LeftOut())
    if "val" not in parts:
        files, labels = parts["train"].files, parts["train"].labels
        rest, held_out = stratified(np.array(labels), (1 - HELD_OUT,))
        parts["train"], parts["val"] = (
            _Files([files[i] for i in part], [labels[i] for i in part]) for part in (rest, held_out)
        )
    splits = {split: file_split(parts[split].files, parts[split].labels, kind) for split in SPLITS}
    if source_column is not None:
        tables = [_read_sources(folder, source_column) for folder in layout.splits.values()]
        known = {path: source for table in tables for path, source in table.items()}
        for split, part in parts.items():
            keys = [Path(composed(str(file))) for file in part.files]
            unknown = [key for key in keys if key not in known]
            if unknown:
                message = f"{SOURCES} says no {source_column} of {unknown[0]} and {len(unknown) - 1} more"
                raise DataError(message)
            splits[split] = replace(splits[split], sources=np.array([known[key] for key in keys], dtype=np.str_))
    return _described(root, names, splits, kind, (*layout.notes, left_out.describe()), fixed=bool(classes))


def _described(
    root: Path, names: list[str], splits: dict[str, Split], kind: str, notes: tuple[str, ...], *, fixed: bool
) -> Dataset:
    return Dataset(
        root.resolve().name,
        tuple(names) if fixed else class_names(names),
        **splits,
        kind=kind,
        root=root,
        notes=tuple(note for note in notes if note),
    )


def _read_sources(folder: Path, column: str) -> dict[Path, str]:
    """Return file -> source from the folder's metadata.csv, in the layout of Hugging Face's `imagefolder`.

    Names of files are composed, see `pfedge_runtime.spelling`, and so are sources.
    """
    path = folder / SOURCES
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {Path(composed(str(folder / row["file_name"]))): composed(row[column]) for row in rows}
    except (OSError, KeyError, TypeError, UnicodeDecodeError, csv.Error) as error:
        message = f"{path} does not give the columns file_name and {column}: {error!r}"
        raise DataError(message) from error


def file_split(files: Sequence[Path], labels: Sequence[int], kind: str) -> Split:
    """Return a split over image or sound files."""
    read = read_sound if kind == "audio" else read_image
    paths = tuple(files)
    return Split(np.array(labels, dtype=np.int64), item=lambda position: read(paths[position]), files=paths)


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


def _load_unsplit(root: Path, kind: str, test_fold: int | None, classes: Sequence[str]) -> Dataset:
    """Split class folders by the folds in ESC's file names where every file has one, else at random."""
    names = list(classes) or _require_classes(root)
    found = _find(root, names, kind, whose="the list of classes")
    clips = [ESC_CLIP.fullmatch(file.stem) for file in found.files]
    if all(clips):
        parts = split_by_fold([int(clip[1]) for clip in clips if clip], test_fold)
    else:
        if test_fold is not None:
            message = f"{root} has no folds to test on"
            raise DataError(message)
        parts = [part.tolist() for part in stratified(np.array(found.labels), UNSPLIT)]
    splits = {
        split: file_split([found.files[i] for i in part], [found.labels[i] for i in part], kind)
        for split, part in zip(SPLITS, parts, strict=True)
    }
    return _described(root, names, splits, kind, (found.left_out.describe(),), fixed=bool(classes))


@dataclass(frozen=True)
class _Files:
    """The files of one split, and their labels; and what its folder holds besides them."""

    files: list[Path]
    labels: list[int]
    left_out: LeftOut = field(default_factory=LeftOut)


def _require_classes(folder: Path) -> list[str]:
    names = list(class_folders(folder))
    if not names:
        message = f"{folder} has no class folders"
        raise DataError(message)
    return names


def _find(folder: Path, names: list[str], kind: str, *, whose: str, read: Collection[str] = ()) -> _Files:
    """Return the files of one split; files called as in `read` are not among those left out."""
    there = class_folders(folder)
    unknown = sorted(set(there) - set(names))
    if unknown:
        message = f"{folder} has classes that {whose} has not: {', '.join(unknown)}"
        raise DataError(message)
    left_out = search_beside(folder, kind, read)
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        if name in there:
            found = search(there[name], kind)
            files += found.files
            labels += [label] * len(found.files)
            left_out += found.left_out
    if not files:
        said = left_out.describe()
        message = f"{folder} holds no image and no sound{f' ({said})' if said else ''}"
        raise DataError(message)
    return _Files(files, labels, left_out)
