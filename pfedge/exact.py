"""Guarantee `exact`: nothing is trained by gradient; a row is the sufficient statistics of its class.

model = ExactModel(embedding, bank)
model.bank().drop({3})          # byte for byte the bank of a model that never saw class 3
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pfedge.backbone import Backbone
from pfedge.data import Split
from pfedge.embedding import Embedding
from pfedge_runtime.statistics_bank import StatisticsBank

EMBED_BATCH = 16
SCALE_BITS = 12


class ExactModel:
    """A frozen backbone's embedding and a bank of statistics.

    Attributes:
        embedding: what is summed.
    """

    def __init__(self, embedding: Embedding, bank: StatisticsBank) -> None:
        """Take both."""
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

    def deployable(self) -> ExactGraph:
        """Return the module that is exported."""
        return ExactGraph(self.embedding).eval()


class ExactGraph(nn.Module):
    """What is exported for `exact`: the embedding and a linear head, fed with what was solved from the rows."""

    def __init__(self, embedding: Embedding) -> None:
        """Take the embedding."""
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


def embed_split(embedding: Embedding, split: Split, *, start: int = 0) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield (index of the first, embeddings float32 `[n, E]`) of a split, from `start` on.

    The internal batch always has one shape, padded with zeros, and one thread: sums inside a matrix product can change
    with either, and then another integer may come out on the grid. Several batches are computed at a time instead. In
    float32, never in bf16.
    """
    threads = torch.get_num_threads()
    pending: deque[tuple[int, Future[NDArray[np.float32]]]] = deque()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for first in range(start, len(split), EMBED_BATCH):
            pending.append((first, pool.submit(_embed_batch, embedding, split, first)))
            if len(pending) > 2 * threads:
                done, embedded = pending.popleft()
                yield done, embedded.result()
        for done, embedded in pending:
            yield done, embedded.result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


@torch.no_grad()
def _embed_batch(embedding: Embedding, split: Split, first: int) -> NDArray[np.float32]:
    """Return the embeddings of the batch that begins at `first`."""
    device = next(embedding.backbone.parameters()).device
    index = np.arange(first, min(first + EMBED_BATCH, len(split)))
    inputs = split.batch(index, embedding.backbone.preprocess)
    padded = np.zeros((EMBED_BATCH, *inputs.shape[1:]), dtype=inputs.dtype)
    padded[: len(inputs)] = inputs
    embedded = embedding(embedding.backbone.embed(torch.from_numpy(padded).to(device)))
    result: NDArray[np.float32] = embedded[: len(inputs)].float().cpu().numpy()
    return result
