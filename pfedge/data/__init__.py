"""Labelled images and sounds for training and evaluation, from wherever they lie.

    dataset = load_dataset("bloodmnist", data_root=Path("~/data"), image_size=224)
    dataset.train.batch(np.arange(32), preprocess)      # uint8 [32, H, W, 3]

A name is one of: a MedMNIST 2D set (`bloodmnist`), `cifar10`, `cifar100`, `esc10`, `esc50`, `urbansound8k`,
`digits` (scikit-learn's handwritten digits, no file needed), the path of an `.npz` in MedMNIST's array layout, or
the path of a folder of images or sounds (`pfedge.data.files`). A folder that is called like a known set is
`./bloodmnist`.

It may import `pfedge.errors` and what the runtime knows of inputs; it knows nothing of backbones.
"""

from pfedge.data.classes import difference, read_classes, require_same
from pfedge.data.dataset import Dataset, Split
from pfedge.data.loading import data_kind, load_dataset
from pfedge.data.pool import POOL_LIMIT, TEST, TRAIN, VAL, Pool, split_digest
from pfedge.data.views import several_views

__all__ = [
    "POOL_LIMIT",
    "TEST",
    "TRAIN",
    "VAL",
    "Dataset",
    "Pool",
    "Split",
    "data_kind",
    "difference",
    "load_dataset",
    "read_classes",
    "require_same",
    "several_views",
    "split_digest",
]
