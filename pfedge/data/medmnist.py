"""The MedMNIST 2D sets (Yang et al., MedMNIST v2, Scientific Data 2023), as the `medmnist` package lists them.

The package is read, not imported: at its import it makes a folder below HOME, wherever the files are.

The paper's five are bloodmnist, dermamnist, octmnist, organsmnist and organcmnist; any other 2D set with
one label an image works too.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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
DEFAULT_ROOT = Path("~/.medmnist")


def load_medmnist(name: str, *, root: Path | None, size: int | None, image_size: int, download: bool) -> Dataset:
    """Load one set; see `pfedge.data.load_dataset` for the arguments.

    Raises:
        DataError: the file is missing and cannot be fetched, is damaged, or the set is multi-label.
        MissingExtraError: the `medmnist` package is not installed.
    """
    info = _catalogue(name)
    if "multi-label" in info["task"]:
        message = f"{name} is a multi-label set: one row per class needs exactly one label an image, not supported"
        raise DataError(message)
    size = size or next((known for known in SIZES if known >= image_size), SIZES[-1])
    if size not in SIZES:
        message = f"MedMNIST has no size {size}: choose one of {', '.join(map(str, SIZES))}"
        raise DataError(message)
    try:
        folder = (root or DEFAULT_ROOT).expanduser()
    except RuntimeError as error:  # neither HOME nor a line in /etc/passwd
        message = f"this user has no home folder: give the folder of {name} with --data-root"
        raise DataError(message) from error
    path = folder / (f"{name}.npz" if size == SIZES[0] else f"{name}_{size}.npz")
    if not path.is_file():
        _fetch(info, size, path, download=download)
    labels = info["label"]
    return replace(load_npz(path, tuple(labels[str(i)] for i in range(len(labels)))), name=name)


def _catalogue(name: str) -> dict[str, Any]:
    """Return what the package says of one set: task, labels, and a URL and an MD5 sum for each size.

    Raises:
        MissingExtraError: the `medmnist` package is not installed.
    """
    package = find_spec("medmnist")
    if package is None or package.origin is None:
        what = f"the data set {name} (medmnist)"
        raise MissingExtraError(what, "train")
    module = ast.parse(Path(package.origin).with_name("info.py").read_text(encoding="utf-8"))
    assigned = {ast.unparse(node.targets[0]): node.value for node in module.body if isinstance(node, ast.Assign)}
    info: dict[str, Any] = ast.literal_eval(assigned["INFO"])[name]
    return info


def _fetch(info: dict[str, Any], size: int, path: Path, *, download: bool) -> None:
    """Download the file into a folder that exists, or into MedMNIST's own default folder."""
    name = path.stem.partition("_")[0]
    folder = path.parent
    if not folder.is_dir() and (folder != DEFAULT_ROOT.expanduser() or not download):
        message = f"no data root {folder}: give the folder that holds {path.name} with --data-root"
        raise DataError(message)
    there = sorted(file.name for file in folder.glob(f"{name}*.npz"))
    hint = f" (it has {', '.join(there)}: choose with --size)" if there else ""
    if not download:
        message = f"{path} does not exist{hint}; leave out --no-download to fetch it, or give --data-root"
        raise DataError(message)
    from torchvision.datasets.utils import download_url  # type: ignore[import-untyped]  # its own lack

    folder.mkdir(parents=True, exist_ok=True)
    which = "" if size == SIZES[0] else f"_{size}"
    try:
        download_url(info[f"url{which}"], str(folder), path.name, info[f"MD5{which}"])
    except Exception as error:  # no network, no such file, no space: each library below has errors of its own
        message = f"{path} does not exist{hint} and could not be downloaded: give a folder that has it with --data-root"
        raise DataError(message) from error
