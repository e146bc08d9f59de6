"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) in their published binary layouts, which hold no pickle.

    load_cifar("cifar10", root=Path("~/data"))      # finds ~/data/cifar-10-batches-bin/data_batch_1.bin

Every tenth training image of each class is held out for validation, always the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pfedge.data.dataset import Dataset, from_arrays, stratified
from pfedge.errors import DataError

SIDE = 32
PIXELS = 3 * SIDE * SIDE
HELD_OUT = 0.1


@dataclass(frozen=True)
class Layout:
    """Where the binary version keeps what; the class is the last of `labels` label bytes of a record."""

    folder: str
    labels: int
    names: str
    train: tuple[str, ...]
    test: str
    pickled: str


CIFAR_SETS = {
    "cifar10": Layout(
        folder="cifar-10-batches-bin",
        labels=1,
        names="batches.meta.txt",
        train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        test="test_batch.bin",
        pickled="cifar-10-batches-py",
    ),
    "cifar100": Layout(
        folder="cifar-100-binary",
        labels=2,
        names="fine_label_names.txt",
        train=("train.bin",),
        test="test.bin",
        pickled="cifar-100-python",
    ),
}


def load_cifar(name: str, *, root: Path | None) -> Dataset:
    """Load `cifar10` or `cifar100` from the folder its binary version was unpacked in, or that folder itself.

    Raises:
        DataError: it is not there, only the pickled version is, or a file is truncated.
    """
    layout = CIFAR_SETS[name]
    where = (root or Path()).expanduser()
    folder = next((place for place in (where, where / layout.folder) if (place / layout.test).is_file()), None)
    if folder is None:
        pickled = (
            any((place / layout.pickled).is_dir() for place in (where, where.parent)) or where.name == layout.pickled
        )
        hint = " (pickles are never read)" if pickled else ""
        message = (
            f"no binary version of {name} below {where}{hint}: unpack {layout.folder.removesuffix('-batches-bin')} "
            "from https://www.cs.toronto.edu/~kriz/cifar.html there, and give the folder with --data-root"
        )
        raise DataError(message)
    try:
        classes = tuple((folder / layout.names).read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot read the class names in {folder / layout.names}: {error}"
        raise DataError(message) from error
    batches = [_read(folder / file, layout) for file in layout.train]
    images, labels = np.concatenate([batch[0] for batch in batches]), np.concatenate([batch[1] for batch in batches])
    rest, held_out = stratified(labels, (1 - HELD_OUT,))
    test_images, test_labels = _read(folder / layout.test, layout)
    train, val, test = (
        from_arrays(*part, classes=len(classes), source=str(folder))
        for part in ((images[rest], labels[rest]), (images[held_out], labels[held_out]), (test_images, test_labels))
    )
    return Dataset(name, classes, train, val, test)


def _read(path: Path, layout: Layout) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images uint8 `[N, 32, 32, 3]` and labels of one file of records: label bytes, then R, G, B planes."""
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise DataError(message) from error
    if not len(data) or len(data) % (layout.labels + PIXELS):
        message = f"{path} is truncated: {len(data)} bytes are no whole number of records"
        raise DataError(message)
    records = data.reshape(-1, layout.labels + PIXELS)
    images = records[:, layout.labels :].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, layout.labels - 1].astype(np.int64)
