"""How a data set's folder is laid out: which folders are splits, which are classes, and what is neither.

layout = find_layout(Path("blood112"))
layout.splits                  # {"train": Path("blood112/train"), "val": Path("blood112/valid"), ...}; or {}
class_folders(root)            # class name -> folder, in order of class ids
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pfedge.errors import DataError
from pfedge_runtime.inputs import is_foreign_folder
from pfedge_runtime.spelling import composed

SPLITS = ("train", "val", "test")
MEANT = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Layout:
    """What the folders of a data set are.

    Attributes:
        splits: split -> its folder; empty where the folders are classes.
        notes: what people should know: other names of splits, folders that are left out.
    """

    splits: dict[str, Path]
    notes: tuple[str, ...] = ()


def find_layout(root: Path) -> Layout:
    """Tell splits from classes.

    `valid` and `invalid` may be two classes. Names other than train, val and test mean splits only where there is a
    folder to train on and one to test on, or where every folder is called like a split.

    Raises:
        DataError: two folders mean one split, or train or test is missing.
    """
    folders = own_folders(root)
    meant = {folder: MEANT.get(folder.name.casefold()) for folder in folders}
    splits: dict[str, Path] = {}
    plain = any(folder.name in SPLITS for folder in folders)
    if not plain and not {"train", "test"} <= set(meant.values()) and (not folders or None in meant.values()):
        return Layout({})
    for folder, split in meant.items():
        if split in splits:
            message = f"{root} has two folders that mean {split}: {splits[split].name} and {folder.name}"
            raise DataError(message)
        if split is not None:
            splits[split] = folder
    missing = [split for split in ("test", "train") if split not in splits]
    if missing:
        message = f"{root} lacks {' and '.join(missing)} (expected train and test, or class folders alone)"
        raise DataError(message)
    notes = [f"{folder.name} is taken for {split}" for split, folder in splits.items() if folder.name != split]
    others = [folder.name for folder, split in meant.items() if split is None]
    if others:
        notes.append(f"left out beside the splits of {root}: {', '.join(others)}")
    return Layout(splits, tuple(notes))


def own_folders(root: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without those of other programs."""
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not is_foreign_folder(entry.name))


def class_folders(folder: Path) -> dict[str, Path]:
    """Return class name -> folder, in order: by leading number, then by name.

    Raises:
        DataError: two names are one text in two Unicode spellings.
    """
    found: dict[str, Path] = {}
    for entry in own_folders(folder):
        name = composed(entry.name)
        if name in found:
            message = f"{folder} has two folders of one name in two Unicode spellings: {name}; merge them"
            raise DataError(message)
        found[name] = entry
    return dict(sorted(found.items(), key=lambda item: _natural(item[0])))


def class_names(names: list[str]) -> tuple[str, ...]:
    """Strip leading class ids (`3_ig`) when they are exactly the ids, and ESC's category numbers (`009 - Rooster`)."""
    parts = [re.match(r"(\d+)[ _-]+(.+)", name) for name in names]
    if all(part and int(part[1]) == label for label, part in enumerate(parts)):
        return tuple(part[2] for part in parts if part)
    esc = [re.fullmatch(r"\d{3} - (.+)", name) for name in names]
    stripped = [part[1] for part in esc if part]
    return tuple(stripped if len(set(stripped)) == len(names) else names)


def _natural(name: str) -> tuple[int, str]:
    number = re.match(r"\d+", name)
    return (int(number.group()) if number else -1, name)
