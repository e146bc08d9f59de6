"""Labelled images for training and evaluation, from wherever they lie.

    dataset = load_dataset("bloodmnist", data_root=Path("~/data"), image_size=224)
    dataset.train.batch(np.arange(32), preprocess)      # uint8 [32, H, W, 3]

A name is one of: a MedMNIST 2D set (`bloodmnist`), `digits` (scikit-learn's handwritten digits, no file
needed), the path of an `.npz` in MedMNIST's array layout, or the path of an image folder
`root/{train,val,test}/<class>/*`. A folder that is called like a known set is `./bloodmnist`.
"""

from __future__ import annotations

from pathlib import Path

from pfedge.data.dataset import Dataset, Split
from pfedge.data.digits import load_digits
from pfedge.data.folder import load_folder
from pfedge.data.medmnist import MEDMNIST_SETS, load_medmnist
from pfedge.data.npz import load_npz
from pfedge.errors import DataError

__all__ = ["Dataset", "Split", "load_dataset"]


def load_dataset(
    name: str,
    *,
    image_size: int,
    data_root: Path | None = None,
    size: int | None = None,
    train_split: str | None = None,
    download: bool = True,
) -> Dataset:
    """Load a data set by name or path.

    Args:
        name: see the module's docstring.
        image_size: side in pixels of what the backbone sees; chooses among MedMNIST's sizes.
        data_root: where MedMNIST files lie or go; None is MedMNIST's own default, `~/.medmnist`.
        size: MedMNIST size 28, 64, 128 or 224; None takes the smallest that is not below `image_size`.
        train_split: the split to train on; None is `train`.
        download: fetch a missing MedMNIST file.

    Raises:
        DataError: there is no such data set, or it is damaged, incomplete or of another kind.
    """
    path = Path(name).expanduser()
    if name == "digits":
        dataset = load_digits()
    elif name in MEDMNIST_SETS:
        dataset = load_medmnist(name, root=data_root, size=size, image_size=image_size, download=download)
    elif path.suffix == ".npz":
        dataset = load_npz(path)
    elif path.is_dir():
        dataset = load_folder(path)
    else:
        message = f"no data set {name!r}: not a folder, not an .npz, and not among digits, {', '.join(MEDMNIST_SETS)}"
        raise DataError(message)
    return dataset.train_on(train_split or "train")
