"""Guarantee `exact`: nothing is trained by gradient; a row is the sufficient statistics of its class.

model = ExactModel(embedding, bank)
model.bank().drop({3})          # byte for byte the bank of a model that never saw class 3
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pfedge.backbone import Backbone, Embedding, load_embedding
from pfedge.data import Split
from pfedge.errors import RunError
from pfedge.runs import Run, RunFile
from pfedge_runtime.bank import StatisticsBank

EMBED_BATCH = 16
SCALE_BITS = 12


class ExactModel:
    """A frozen backbone's embedding and a bank of statistics.

    Attributes:
        embedding: what is summed.
    """

    def __init__(self, embedding: Embedding, bank: StatisticsBank) -> None:
        self.embedding = embedding.eval()
        self._bank = bank

    @property
    def backbone(self) -> Backbone:
        """The frozen transformer."""
        return self.embedding.backbone

    @property
    def class_ids(self) -> tuple[int, ...]:
        """The class ids that have a row."""
        return self._bank.class_ids

    def bank(self) -> StatisticsBank:
        """Return the rows."""
        return self._bank

    def trained_parameters(self) -> dict[str, int]:
        """Return how many numbers stand in rows, and how many out of `forget`'s reach: none."""
        return {"rows": sum(1 + len(row.sum) + len(row.outer) for row in self._bank.rows.values()), "shared": 0}

    def to(self, device: torch.device) -> Self:
        """Move the backbone; the rows stay where they are."""
        self.embedding.to(device)
        return self

    def deployable(self) -> ExactGraph:
        """Return the module that is exported."""
        return ExactGraph(self.embedding).eval()


class ExactGraph(nn.Module):
    """What is exported for `exact`: the embedding and a linear head, fed with what was solved from the rows."""

    def __init__(self, embedding: Embedding) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, inputs: Tensor, head_weight: Tensor, head_bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `[B, R]` and embedding `[B, E]`.

        Args:
            inputs: images uint8 `[B, H, W, 3]`, or features float32 `[B, frames, mels]`.
            head_weight: float32 `[R, E]`.
            head_bias: float32 `[R]`.
        """
        embedded = self.embedding(self.embedding.backbone.embed(inputs))
        return embedded @ head_weight.T + head_bias, embedded


def bank_state(bank: StatisticsBank) -> dict[str, Tensor]:
    """Return a bank's rows as tensors, named as in a bank file."""
    return {name: torch.from_numpy(np.array(array)) for name, array in bank.tensors().items()}


def read_bank(file: RunFile) -> StatisticsBank:
    """Return the rows in a run's file, which has the bank's settings beside them.

    Raises:
        RunError: the file is damaged.
    """
    try:
        arrays = {name: value.numpy().copy() for name, value in file.tensors.items()}
        return StatisticsBank.from_tensors(arrays, file.about["bank"], source=str(file.path))
    except (KeyError, TypeError) as error:
        message = f"{file.path} is damaged: {error!r}"
        raise RunError(message) from error


def load_exact(run: Run, backbone: Backbone) -> ExactModel:
    """Read a run's statistics, and build the embedding that it remembers.

    Raises:
        BackboneError: the embedding drawn here is not the one of training.
        RunError: the model file is damaged.
    """
    return ExactModel(load_embedding(backbone, run.config.require_embedding()), read_bank(run.read_model()))


def embed_split(embedding: Embedding, split: Split, *, start: int = 0) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (index of the first, embeddings float32 `[n, E]`) of a split, from `start` on.

    The internal batch always has one shape, padded with zeros, and one thread: sums inside a matrix product can change
    with either, and then another integer may come out on the grid. Several batches are computed at a time instead. In
    float32, never in bf16. Where a sum's last bit even depends on an input's place in the batch, it is a batch of one.
    """
    threads = torch.get_num_threads()
    pending: deque[tuple[int, Future[NDArray[np.float32]]]] = deque()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        size = _batch_size(embedding, pool)
        for first in range(start, len(split), size):
            pending.append((first, pool.submit(_embed_batch, embedding, split, first, size)))
            if len(pending) > 2 * threads:
                done, embedded = pending.popleft()
                yield done, embedded.result()
        for done, embedded in pending:
            yield done, embedded.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _batch_size(embedding: Embedding, pool: ThreadPoolExecutor) -> int:
    """Return `EMBED_BATCH` where inputs keep their last bit when each moves to another place, else 1."""
    preprocess, rng = embedding.backbone.preprocess, np.random.default_rng(0)
    noise = rng.integers(0, 256, (EMBED_BATCH, *preprocess.shape)).astype(preprocess.dtype)
    here, there = (pool.submit(_embed, embedding, np.roll(noise, places, axis=0)) for places in (0, 1))
    return EMBED_BATCH if np.array_equal(np.roll(here.result(), 1, axis=0), there.result()) else 1


def _embed_batch(embedding: Embedding, split: Split, first: int, size: int) -> NDArray[np.float32]:
    """Return the embeddings of the batch of `size` that begins at `first`."""
    inputs = split.batch(np.arange(first, min(first + size, len(split))), embedding.backbone.preprocess)
    padded = np.zeros((size, *inputs.shape[1:]), dtype=inputs.dtype)
    padded[: len(inputs)] = inputs
    return _embed(embedding, padded)[: len(inputs)]


@torch.no_grad()
def _embed(embedding: Embedding, inputs: NDArray[Any]) -> NDArray[np.float32]:
    """Return the embeddings of inputs `[n, H, W, 3]`, or features."""
    device = next(embedding.backbone.parameters()).device
    embedded = embedding(embedding.backbone.embed(torch.from_numpy(inputs).to(device)))
    result: NDArray[np.float32] = embedded.float().cpu().numpy()
    return result
