"""ESC-10, ESC-50 (Piczak, ACM MM 2015) and UrbanSound8K (Salamon et al., ACM MM 2014) as they are published.

    load_audio("esc50", root=Path("~/data"))      # finds ~/data/ESC-50-master/{meta/esc50.csv,audio/*.wav}

Each comes in folds, which are kept: one to test on, the one before it to validate on, the rest to train on.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from pfedge.data.dataset import Dataset
from pfedge.data.files import file_split, load_folder, split_by_fold
from pfedge.errors import DataError

AUDIO_SETS = {
    "esc10": ("", "ESC-10", "ESC-10-master", "ESC-50", "ESC-50-master", "esc10"),
    "esc50": ("", "ESC-50", "ESC-50-master", "esc50"),
    "urbansound8k": ("", "UrbanSound8K", "urbansound8k"),
}
ESC_TABLE = Path("meta/esc50.csv")
URBANSOUND_TABLE = Path("metadata/UrbanSound8K.csv")


def is_published_audio(root: Path) -> bool:
    """Whether a folder is ESC-50 or UrbanSound8K as published."""
    return (root / ESC_TABLE).is_file() or (root / URBANSOUND_TABLE).is_file()


def load_audio(name: str, *, root: Path | None, test_fold: int | None = None) -> Dataset:
    """Load a published set.

    Args:
        name: `esc10`, `esc50` or `urbansound8k`.
        root: the set's own folder, or the one that it was unpacked in.
        test_fold: which fold to test on; None is the last.

    Raises:
        DataError: it is not there, or its table or a file is missing.
    """
    if root is None:
        message = f"{name} is not downloaded: give the folder it was unpacked in with --data-root"
        raise DataError(message)
    table = URBANSOUND_TABLE if name == "urbansound8k" else ESC_TABLE
    for folder in (root.expanduser() / place for place in AUDIO_SETS[name]):
        if (folder / table).is_file():
            return replace(load_published(folder, only_esc10=name == "esc10", test_fold=test_fold), name=name)
        if name == "esc10" and any(folder.glob("??? - *")):  # the set's own repository: one folder a class
            return replace(load_folder(folder, test_fold=test_fold), name=name)
    message = f"{name} is not below {root}: expected its folder with {table}"
    raise DataError(message)


def load_published(root: Path, *, only_esc10: bool = False, test_fold: int | None = None) -> Dataset:
    """Load the folder of ESC-50 or UrbanSound8K, told apart by its table.

    Raises:
        DataError: the table lacks a column, or a file that it names is missing.
    """
    esc = (root / ESC_TABLE).is_file()
    table = root / (ESC_TABLE if esc else URBANSOUND_TABLE)
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if esc:
            rows = [row for row in rows if row["esc10"] == "True"] if only_esc10 else rows
            files = [root / "audio" / row["filename"] for row in rows]
            targets, names = [int(row["target"]) for row in rows], [row["category"] for row in rows]
        else:
            files = [root / "audio" / f"fold{int(row['fold'])}" / row["slice_file_name"] for row in rows]
            targets, names = [int(row["classID"]) for row in rows], [row["class"] for row in rows]
        folds = [int(row["fold"]) for row in rows]
    except (KeyError, ValueError, TypeError, OSError, csv.Error) as error:
        message = f"{table} is damaged: {error!r}"
        raise DataError(message) from error
    missing = [file for file in files if not file.is_file()]
    if missing:
        message = f"{root} is incomplete: {len(missing)} of {len(files)} files are missing, first {missing[0]}"
        raise DataError(message)
    classes = dict(sorted(set(zip(targets, names, strict=True))))
    label = {target: position for position, target in enumerate(classes)}
    train, val, test = (
        file_split([files[i] for i in part], [label[targets[i]] for i in part], "audio")
        for part in split_by_fold(folds, test_fold)
    )
    name = "esc10" if only_esc10 else root.resolve().name
    return Dataset(name, tuple(classes.values()), train, val, test, kind="audio", root=root)
