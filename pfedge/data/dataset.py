"""What a data set is: named classes and three splits of labelled images or sounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge.errors import DataError
from pfedge_runtime.bundle import find_class
from pfedge_runtime.errors import InputError
from pfedge_runtime.inputs import Pixels, Preprocess

MEMORY_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Split:
    """N labelled images or sounds, decoded when asked for.

    Attributes:
        labels: int64 `[N]`, class ids.
        item: gives the one at an index, decoded: an image as uint8 `[h, w, 3]`, of whatever size it has, or a
            `Sound`; or, where the split is prepared, what a backbone takes.
        sources: str `[N]`, where each comes from (a clinic, say), if that was asked for.
        files: the N files, where each has one of its own.
    """

    labels: NDArray[np.int64]
    item: Callable[[int], Any]
    sources: NDArray[np.str_] | None = None
    files: tuple[Path, ...] | None = None

    def __len__(self) -> int:
        """Return N."""
        return len(self.labels)

    def batch(self, index: NDArray[np.int64], preprocess: Preprocess) -> NDArray[Any]:
        """Return the inputs `[n, ...]` made of those at `index`, as a device would make them."""
        return np.stack([preprocess(self.item(int(i))) for i in index])

    def prepared(self, preprocess: Preprocess, on_progress: Callable[[int], None] | None = None) -> Split:
        """Return a split whose inputs are made already, where they fit in 4 GiB of memory."""
        dtype = np.dtype(preprocess.dtype)
        if len(self) * math.prod(preprocess.shape) * dtype.itemsize > MEMORY_BYTES:
            return self
        inputs = np.empty((len(self), *preprocess.shape), dtype=dtype)

        def fill(position: int) -> None:
            inputs[position] = preprocess(self.item(position))

        with ThreadPoolExecutor() as pool:
            for done, _ in enumerate(pool.map(fill, range(len(self))), start=1):
                if on_progress is not None:
                    on_progress(done)
        return replace(self, item=inputs.__getitem__)

    def where(self, keep: NDArray[np.bool_]) -> Split:
        """Return the samples where `keep` `[N]` is True."""
        index = np.flatnonzero(keep)
        item = self.item
        sources = self.sources[index] if self.sources is not None else None
        files = tuple(self.files[i] for i in index) if self.files is not None else None
        return Split(self.labels[index], lambda position: item(int(index[position])), sources, files)

    def unreadable(
        self, preprocess: Preprocess, on_progress: Callable[[int], None] = lambda _: None
    ) -> dict[Path, InputError]:
        """Decode every file, and return what is wrong with those that cannot be used.

        Raises:
            MissingExtraError: a file needs an extra that is not installed.
        """
        found: dict[Path, InputError] = {}

        def attempt(position: int) -> InputError | None:
            try:
                preprocess(self.item(position))
            except InputError as error:
                return error
            return None

        with ThreadPoolExecutor() as pool:
            outcomes = pool.map(attempt, range(len(self)))
            for done, (path, error) in enumerate(zip(self.files or (), outcomes, strict=False), start=1):
                if error is not None:
                    found[path] = error
                on_progress(done)
        return found

    def only(self, class_ids: Sequence[int]) -> Split:
        """Return the samples of these classes."""
        return self.where(np.isin(self.labels, class_ids))

    def sample(self, limit: int, seed: int = 0) -> Split:
        """Return at most `limit` samples, the same for the same seed, spread over the classes as they come.

        `limit` 0 returns all.
        """
        if limit == 0 or limit >= len(self):
            return self
        chosen = np.random.default_rng(seed).choice(len(self), size=limit, replace=False)
        keep = np.zeros(len(self), dtype=np.bool_)
        keep[chosen] = True
        return self.where(keep)


@dataclass(frozen=True)
class Dataset:
    """A named data set.

    Attributes:
        name: short, fit for a file name.
        classes: class names; the class id is the position.
        train: what is trained on.
        val: what thresholds and early looks use.
        test: what is reported.
        kind: `image` or `audio`.
        root: the folder of its files, where it is one.
        notes: what people should know of how it was read: what was left out, and which folder was taken for a split.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    kind: str = "image"
    root: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, Split]:
        """Name -> split."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def file_name(self, file: Path) -> str:
        """Return how a file is called wherever the data set lies: its path below the data set's folder."""
        return (file if self.root is None else file.relative_to(self.root)).as_posix()

    def without(self, names: Collection[str]) -> Dataset:
        """Return the data set without the files called so, see `file_name`."""

        def rest(split: Split) -> Split:
            if split.files is None or not names:
                return split
            return split.where(np.array([self.file_name(file) not in names for file in split.files], dtype=np.bool_))

        return replace(self, train=rest(self.train), val=rest(self.val), test=rest(self.test))

    def train_on(self, split: str) -> Dataset:
        """Return the data set whose training split is `split` (`train` or `val`); the two change places.

        Raises:
            DataError: there is no such split, or it is empty.
        """
        if split not in {"train", "val"}:
            message = f"cannot train on split {split!r}: choose train or val"
            raise DataError(message)
        chosen: Split = getattr(self, split)
        if len(chosen) == 0:
            message = f"split {split} of {self.name} is empty"
            raise DataError(message)
        return self if split == "train" else replace(self, train=self.val, val=self.train)

    def require_kind(self, preprocess: Preprocess, *, backbone: str) -> None:
        """Check that a backbone takes what this data set holds.

        Raises:
            DataError: one is of images and the other of sounds.
        """
        if preprocess.kind != self.kind:
            message = f"{self.name} is {self.kind} data, the backbone {backbone} takes {preprocess.kind} data"
            raise DataError(message)

    def class_id(self, text: str) -> int:
        """Return the id of the class with this id or name.

        Raises:
            UnknownClassError: there is none, or the text is one class's id and another's name.
        """
        return find_class(self.classes, text)

    def present(self) -> tuple[int, ...]:
        """Return the class ids that have at least one training image."""
        return tuple(int(class_id) for class_id in np.unique(self.train.labels))


def from_arrays(images: NDArray[np.generic], labels: NDArray[np.generic], *, classes: int, source: str) -> Split:
    """Return a split over arrays: uint8 `[N, h, w]` or `[N, h, w, 3]`, and integer labels `[N]` or `[N, 1]`.

    Raises:
        DataError: shapes, dtypes or label values are off; `source` names the file.
    """
    require_labels(labels, source=source)
    flat = labels.reshape(-1)
    grey = images.ndim == 3  # noqa: PLR2004 -- N, h, w
    colour = images.ndim == 4 and images.shape[3] == 3  # noqa: PLR2004 -- N, h, w, RGB
    if images.dtype != np.uint8 or not (grey or colour) or len(images) != len(flat):
        message = (
            f"{source} must hold uint8 images [N, h, w] or [N, h, w, 3] and N labels, "
            f"got {images.dtype} {list(images.shape)} and {len(flat)} labels"
        )
        raise DataError(message)
    ids = flat.astype(np.int64)
    if len(ids) and (ids.min() < 0 or ids.max() >= classes):
        message = f"{source} has labels {ids.min()}..{ids.max()}, expected 0..{classes - 1}"
        raise DataError(message)

    def image(position: int) -> Pixels:
        pixels = images[position].astype(np.uint8, copy=False)
        return np.repeat(pixels[:, :, None], 3, axis=2) if grey else pixels

    return Split(labels=ids, item=image)


def require_labels(labels: NDArray[np.generic], *, source: str) -> None:
    """Check that labels are integers, one an image: `[N]` or `[N, 1]`.

    Raises:
        DataError: they are not; `source` names the file.
    """
    if labels.ndim == 2 and labels.shape[1] > 1:  # noqa: PLR2004 -- N, labels of an image
        message = f"{source} has {labels.shape[1]} labels an image: multi-label sets are not supported"
        raise DataError(message)
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim not in {1, 2} or labels.size != len(labels):
        message = f"{source} must hold one integer label an image, got {labels.dtype} {list(labels.shape)}"
        raise DataError(message)


def stratified(labels: NDArray[np.int64], fractions: Sequence[float], seed: int = 0) -> list[NDArray[np.int64]]:
    """Split sample indices into parts of the given fractions, class by class; the last part takes the rest."""
    rng = np.random.default_rng(seed)
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(len(fractions) + 1)]
    for class_id in np.unique(labels):
        index = rng.permutation(np.flatnonzero(labels == class_id))
        ends = np.cumsum([round(fraction * len(index)) for fraction in fractions])
        for part, piece in zip(parts, np.split(index, ends), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]
