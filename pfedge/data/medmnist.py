"""The MedMNIST 2D sets (Yang et al., MedMNIST v2, Scientific Data 2023), through the `medmnist` package.

The paper's five are bloodmnist, dermamnist, octmnist, organsmnist and organcmnist; any other 2D set with
one label an image works too.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

from pfedge.data.dataset import Dataset
from pfedge.data.npz import load_npz
from pfedge.errors import DataError
from pfedge_runtime.errors import MissingExtraError

PAPER_SETS = ("bloodmnist", "dermamnist", "octmnist", "organsmnist", "organcmnist")
MEDMNIST_SETS = (
    *PAPER_SETS,
    "organamnist",
    "pathmnist",
    "pneumoniamnist",
    "breastmnist",
    "tissuemnist",
    "retinamnist",
    "chestmnist",
)
SIZES = (28, 64, 128, 224)
DEFAULT_ROOT = Path.home() / ".medmnist"


def load_medmnist(name: str, *, root: Path | None, size: int | None, image_size: int, download: bool) -> Dataset:
    """Load one set; see `pfedge.data.load_dataset` for the arguments.

    Raises:
        DataError: the file is missing and cannot be fetched, is damaged, or the set is multi-label.
        MissingExtraError: the `medmnist` package is not installed.
    """
    try:
        import medmnist
    except ImportError as error:
        what = f"the data set {name} (medmnist)"
        raise MissingExtraError(what, "train") from error
    info = medmnist.INFO[name]
    if "multi-label" in info["task"]:
        message = f"{name} is a multi-label set: one row per class needs exactly one label an image, not supported"
        raise DataError(message)
    size = size or next((known for known in SIZES if known >= image_size), SIZES[-1])
    if size not in SIZES:
        message = f"MedMNIST has no size {size}: choose one of {', '.join(map(str, SIZES))}"
        raise DataError(message)
    folder = (root or DEFAULT_ROOT).expanduser()
    path = folder / (f"{name}.npz" if size == SIZES[0] else f"{name}_{size}.npz")
    if not path.is_file():
        _fetch(medmnist, name, size, path, download=download)
    labels = info["label"]
    return replace(load_npz(path, tuple(labels[str(i)] for i in range(len(labels)))), name=name)


def _fetch(medmnist: ModuleType, name: str, size: int, path: Path, *, download: bool) -> None:
    """Download the file into a folder that exists, or into MedMNIST's own default folder."""
    folder = path.parent
    if not folder.is_dir() and (folder != DEFAULT_ROOT or not download):
        message = f"no data root {folder}: give the folder that holds {path.name} with --data-root"
        raise DataError(message)
    there = sorted(file.name for file in folder.glob(f"{name}*.npz"))
    hint = f" (it has {', '.join(there)}: choose with --size)" if there else ""
    if not download:
        message = f"{path} does not exist{hint}; leave out --no-download to fetch it, or give --data-root"
        raise DataError(message)
    folder.mkdir(parents=True, exist_ok=True)
    kind = getattr(medmnist, medmnist.INFO[name]["python_class"])
    try:
        kind(split="train", root=str(folder), size=size, download=True)
    except Exception as error:  # medmnist turns every failure into RuntimeError, with a page of advice
        message = f"{path} does not exist{hint} and could not be downloaded: give a folder that has it with --data-root"
        raise DataError(message) from error
