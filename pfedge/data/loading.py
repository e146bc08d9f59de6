"""Finding a data set by its name or path."""

from __future__ import annotations

from pathlib import Path

from pfedge.data.audio import AUDIO_SETS, is_published_audio, load_audio, load_published
from pfedge.data.cifar import CIFAR_SETS, load_cifar
from pfedge.data.dataset import Dataset
from pfedge.data.digits import load_digits
from pfedge.data.files import folder_kind, load_folder
from pfedge.data.medmnist import MEDMNIST_SETS, load_medmnist
from pfedge.data.npz import load_npz
from pfedge.errors import DataError
from pfedge_runtime.spelling import composed

KNOWN = ("digits", *MEDMNIST_SETS, *CIFAR_SETS, *AUDIO_SETS)


def data_kind(name: str) -> str:
    """Return `audio` or `image`: what a data set holds, without loading it."""
    path = _path(name)
    if name in KNOWN or not path.is_dir():
        return "audio" if name in AUDIO_SETS else "image"
    return "audio" if is_published_audio(path) else folder_kind(path)


def _path(name: str) -> Path:
    """Return a path whose `~` is spelled out."""
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        message = f"there is no data set {name}: nobody of that name has a home folder here"
        raise DataError(message) from error


def load_dataset(
    name: str,
    *,
    image_size: int | None = None,
    data_root: Path | None = None,
    size: int | None = None,
    train_split: str | None = None,
    test_fold: int | None = None,
    source_column: str | None = None,
    classes: tuple[str, ...] = (),
    download: bool = True,
) -> Dataset:
    """Load a data set by name or path.

    Args:
        name: see `pfedge.data`.
        image_size: side in pixels of what the backbone sees; chooses among MedMNIST's sizes.
        data_root: where the files of known sets lie; None is MedMNIST's own default, `~/.medmnist`.
        size: MedMNIST size 28, 64, 128 or 224; None takes the smallest that is not below `image_size`.
        train_split: the split to train on; None is `train`.
        test_fold: the fold to test on, where a set has folds; None is the last.
        source_column: says where each input comes from: of an .npz the arrays `{train,val,test}_<column>`, of an image
            folder a column of `{train,val,test}/metadata.csv` beside its column `file_name`.
        classes: class names in the order of their ids, of a folder or an .npz; empty takes those that it has.
        download: fetch a missing MedMNIST file.

    Raises:
        DataError: there is no such data set, or it is damaged, incomplete or of another kind.
    """
    path = _path(name)
    classes = tuple(map(composed, classes))
    if name == "digits":
        dataset = load_digits()
    elif name in MEDMNIST_SETS:
        dataset = load_medmnist(name, root=data_root, size=size, image_size=image_size or 0, download=download)
    elif name in CIFAR_SETS:
        dataset = load_cifar(name, root=data_root)
    elif name in AUDIO_SETS:
        dataset = load_audio(name, root=data_root, test_fold=test_fold)
    elif path.suffix == ".npz":
        dataset = load_npz(path, classes or None, source_column=source_column)
    elif path.is_dir():
        published = is_published_audio(path)
        dataset = (
            load_published(path, test_fold=test_fold)
            if published
            else load_folder(path, test_fold=test_fold, source_column=source_column, classes=classes)
        )
    else:
        message = f"no data set {name!r}: not a folder, not an .npz, and not among {', '.join(KNOWN)}"
        raise DataError(message)
    if source_column is not None and dataset.train.sources is None:
        message = f"{name} has no column {source_column!r}: sources come with an .npz or a folder with metadata.csv"
        raise DataError(message)
    if classes and dataset.classes != classes:
        message = f"{name} has class names of its own: a list of classes is for a folder or an .npz"
        raise DataError(message)
    return dataset.train_on(train_split or "train")
