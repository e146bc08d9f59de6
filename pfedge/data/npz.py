"""Any `.npz` in MedMNIST's array layout: `{train,val,test}_{images,labels}`, optionally `classes` (names)."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedge.data.dataset import Dataset, from_arrays, require_labels
from pfedge.errors import DataError
from pfedge_runtime.spelling import composed

SPLITS = ("train", "val", "test")


def load_npz(path: Path, classes: tuple[str, ...] | None = None, *, source_column: str | None = None) -> Dataset:
    """Load the file; class names default to its array `classes`, else to the ids in the training labels.

    `source_column` names arrays `{train,val,test}_<column>` that say where each image comes from.

    Raises:
        DataError: it is missing, truncated, or lacks an array.
    """
    arrays = read_arrays(path)
    for split in SPLITS:
        require_labels(arrays[f"{split}_labels"], source=f"{path} ({split})")
    if classes is None:
        named = arrays.get("classes")
        top = max(int(arrays[f"{split}_labels"].max(initial=0)) for split in SPLITS)
        names = map(str, named) if named is not None else map(str, range(top + 1))
        classes = tuple(map(composed, names))
    train, val, test = (
        from_arrays(
            arrays[f"{split}_images"], arrays[f"{split}_labels"], classes=len(classes), source=f"{path} ({split})"
        )
        for split in SPLITS
    )
    if source_column is not None:
        train, val, test = (
            replace(part, sources=_sources(arrays, path, split, source_column, len(part)))
            for split, part in zip(SPLITS, (train, val, test), strict=True)
        )
    return Dataset(path.stem, classes, train, val, test)


def _sources(
    arrays: dict[str, NDArray[np.generic]], path: Path, split: str, column: str, count: int
) -> NDArray[np.str_]:
    """Return the array `<split>_<column>` as text."""
    values = arrays.get(f"{split}_{column}")
    if values is None or values.size != count:
        message = f"{path} has no array {split}_{column} with one value an image"
        raise DataError(message)
    return np.array([composed(str(value)) for value in values.reshape(-1)], dtype=np.str_)


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Read all arrays, without ever unpickling.

    Raises:
        DataError: as `load_npz`.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        message = f"no such file: {path}"
        raise DataError(message) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError) as error:
        message = f"{path} is damaged or not an .npz: {error}"
        raise DataError(message) from error
    missing = [
        f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels") if f"{split}_{kind}" not in arrays
    ]
    if missing:
        message = f"{path} is not in MedMNIST's layout: it lacks {', '.join(missing)}"
        raise DataError(message)
    return arrays
