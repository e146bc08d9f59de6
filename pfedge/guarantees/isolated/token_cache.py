"""What a frozen backbone makes of a data set, computed once: in memory, on disk, or again whenever it is asked for.

    cache = TokenCache.of(model, split, folder, progress=progress)
    frozen = cache.batch(index)      # keys, values, embedding of those inputs

Keys and values are kept in bfloat16. ViT-B at 224 px takes 7 MB an input, ViT-S at 112 px 1.2 MB.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pfedge.data import Split
from pfedge.guarantees.isolated.model import IsolatedModel, KeyValues
from pfedge_runtime.errors import UsageError

PLACES = ("auto", "memory", "disk", "none")
MEMORY_SHARE = 0.5
DISK_SHARE = 0.5
BATCH = 32


def choose_place(asked: str, needed: int, folder: Path) -> str:
    """Return `memory`, `disk` or `none`.

    Args:
        asked: one of them, or `auto`: memory where half of what is free holds it, else disk likewise, else none.
        needed: bytes.
        folder: where on the disk.

    Raises:
        UsageError: there is no such place.
    """
    if asked not in PLACES:
        message = f"unknown place {asked!r} of the cache: choose {', '.join(PLACES)}"
        raise UsageError(message)
    if asked != "auto":
        return asked
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed <= free * MEMORY_SHARE:
        return "memory"
    return "disk" if needed <= shutil.disk_usage(folder).free * DISK_SHARE else "none"


class KeyValueSource(Protocol):
    """What gives keys and values of inputs by index: a cache, or a part of one."""

    def batch(self, index: NDArray[np.int64]) -> KeyValues:
        """Return what rows need to know of the inputs at `index`."""


class TokenCache:
    """Keys, values and embeddings of a split.

    Attributes:
        place: where they are: `memory`, `disk` or `none`.
    """

    def __init__(self, model: IsolatedModel, split: Split, folder: Path, *, place: str = "auto") -> None:
        """Choose a place for them; `fill` computes them.

        Raises:
            UsageError: there is no such place.
        """
        backbone = model.backbone
        self._model, self._split = model, split
        inner = (backbone.heads, backbone.tokens, backbone.width // backbone.heads)
        self._shape = (len(split), 2, len(backbone.blocks), *inner)
        self.place = choose_place(place, 2 * int(np.prod(self._shape)), folder)
        _remove_abandoned(folder)
        self._file = folder / f"cache-{os.getpid()}-{id(self):x}.bf16" if self.place == "disk" else None
        self._embedding = torch.empty(len(split), model.embedding.spec.dim)
        self._kept: Tensor | None = None
        if self._file is not None:
            mapped = np.memmap(self._file, dtype=np.int16, mode="w+", shape=self._shape)
            self._kept = torch.from_numpy(mapped).view(torch.bfloat16)
        elif self.place == "memory":
            self._kept = torch.empty(self._shape, dtype=torch.bfloat16)

    def __len__(self) -> int:
        """Return how many inputs there are."""
        return len(self._split)

    def fill(self, on_progress: Callable[[int], None] = lambda _: None) -> None:
        """Run the backbone over all inputs, unless nothing is kept."""
        if self._kept is None:
            return
        for start in range(0, len(self), BATCH):
            index = np.arange(start, min(start + BATCH, len(self)))
            frozen = self._run_backbone(index)
            self._kept[start : start + len(index), 0] = frozen.keys.cpu().to(torch.bfloat16)
            self._kept[start : start + len(index), 1] = frozen.values.cpu().to(torch.bfloat16)
            self._embedding[start : start + len(index)] = frozen.embedding.cpu()
            on_progress(start + len(index))

    def batch(self, index: NDArray[np.int64]) -> KeyValues:
        """Return what rows need to know of the inputs at `index`."""
        if self._kept is None:
            return self._run_backbone(index)
        device, chosen = self._model.prompts.device, torch.from_numpy(index)
        kept = self._kept[chosen].to(device).float()
        return KeyValues(kept[:, 0], kept[:, 1], self._embedding[chosen].to(device))

    def __enter__(self) -> TokenCache:  # noqa: PYI034 -- final in practice
        """Return the cache; leaving gives its memory and disk back."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """Give memory and disk back."""
        self._kept = None
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def _run_backbone(self, index: NDArray[np.int64]) -> KeyValues:
        inputs = torch.from_numpy(self._split.batch(index, self._model.backbone.preprocess))
        return self._model.run_backbone(inputs.to(self._model.prompts.device))


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left in a folder: it is of no use, and tells of every input."""
    for path in folder.glob("cache-*.bf16"):
        process = path.name.split("-")[1]
        if process.isdecimal() and not _alive(int(process)):
            path.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's, or the platform does not tell
        return True
    return True
