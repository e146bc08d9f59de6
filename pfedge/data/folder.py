"""An image folder: `root/{train,val,test}/<class>/*`.

Classes are the sorted names below `train`; an image in another split whose class is not there is an error.
A name such as `3_ig` keeps its number out of the class name when all names are numbered 0, 1, 2, ...
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pfedge.data.dataset import Dataset, Split
from pfedge.errors import DataError
from pfedge_runtime.preprocess import IMAGE_SUFFIXES, read_image

SPLITS = ("train", "val", "test")


def load_folder(root: Path) -> Dataset:
    """Load the folder; images are decoded when they are asked for.

    Raises:
        DataError: a split or its images are missing, or a split has a class that `train` has not.
    """
    missing = [split for split in SPLITS if not (root / split).is_dir()]
    if missing:
        message = f"{root} is not an image folder: it lacks {', '.join(missing)} (expected train, val and test)"
        raise DataError(message)
    names = sorted((entry.name for entry in (root / "train").iterdir() if entry.is_dir()), key=_natural)
    if not names:
        message = f"{root / 'train'} has no class folders"
        raise DataError(message)
    train, val, test = (_split(root / split, names) for split in SPLITS)
    return Dataset(root.resolve().name, _class_names(names), train, val, test)


def _split(folder: Path, names: list[str]) -> Split:
    unknown = sorted({entry.name for entry in folder.iterdir() if entry.is_dir()} - set(names))
    if unknown:
        message = f"{folder} has classes that train has not: {', '.join(unknown)}"
        raise DataError(message)
    files, labels = [], []
    for label, name in enumerate(names):
        found = sorted(file for file in (folder / name).glob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
        files += found
        labels += [label] * len(found)
    if not files:
        message = f"{folder} holds no image"
        raise DataError(message)
    return Split(labels=np.array(labels, dtype=np.int64), image=lambda position: read_image(files[position]))


def _natural(name: str) -> tuple[int, str]:
    number = re.match(r"\d+", name)
    return (int(number.group()) if number else -1, name)


def _class_names(names: list[str]) -> tuple[str, ...]:
    """Strip leading class ids (`3_ig`, `003 - ig`) when they are exactly the ids."""
    parts = [re.match(r"(\d+)[ _-]+(.+)", name) for name in names]
    if all(part and int(part[1]) == label for label, part in enumerate(parts)):
        return tuple(part[2] for part in parts if part)
    return tuple(names)
