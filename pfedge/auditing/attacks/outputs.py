"""What deployed models say of inputs: their graphs on ONNX Runtime, with the rows that are left.

    outputs = run_model(bundle.graph_path, bank, pool, index)        # ModelOutputs of one model

The black-box attacks (utility, membership, neighbour) work on the `OutputsByModel` of the three models, each asked by
an engine of its own about the same inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pfedge.auditing.statistics import BeforeAfterReference, Skipped
from pfedge.data import TEST, TRAIN, VAL, Pool
from pfedge.guarantees import Index
from pfedge_runtime.bank import Bank
from pfedge_runtime.engines import OnnxRuntimeEngine

BATCH = 32
MIN_INPUTS = 20
MIN_ROWS = 2
ONE_ROW = Skipped("all", "one row is left, and its probability is 1 whatever the input")
MODELS = ("before", "after", "reference")

Array = NDArray[Any]


@dataclass(frozen=True)
class ModelOutputs:
    """What a model says of n inputs.

    Attributes:
        bank: the rows it has.
        logits: float32 `[n, R]`.
        embedding: float32 `[n, E]`, where the graph gives one.
    """

    bank: Bank
    logits: NDArray[np.float32]
    embedding: NDArray[np.float32] | None

    @property
    def class_ids(self) -> NDArray[np.int64]:
        """The classes of the rows."""
        return np.array(self.bank.class_ids)


@dataclass(frozen=True)
class OutputsByModel:
    """What the models say of the same inputs.

    Attributes:
        forgotten: the class id.
        pool: where the inputs are from.
        index: int64 `[n]`, which of them.
        before: before forgetting.
        after: after forgetting.
        reference: of the model trained without the class.
        more: of further references, of other seeds.
    """

    forgotten: int
    pool: Pool
    index: Index
    before: ModelOutputs
    after: ModelOutputs
    reference: ModelOutputs
    more: tuple[ModelOutputs, ...] = ()

    def places(self, parts: int | Sequence[int], *, own: bool) -> Index:
        """Return positions in `index` of inputs of some splits, of the forgotten class or of the others."""
        pool = self.pool
        here = np.isin(pool.part[self.index], parts) & ((pool.labels[self.index] == self.forgotten) == own)
        return np.flatnonzero(here)

    def of_each(self, compute: Callable[[ModelOutputs], Array]) -> BeforeAfterReference:
        """Compute a quantity `[n, ...]` of each model."""
        return BeforeAfterReference.of(
            *(compute(model) for model in (self.before, self.after, self.reference, *self.more))
        )


def run_model(
    graph: Path, bank: Bank, pool: Pool, index: Index, tick: Callable[[int], None] = lambda _: None
) -> ModelOutputs:
    """Ask a deployed graph about some inputs of the pool."""
    engine = OnnxRuntimeEngine(graph, threads=torch.get_num_threads())
    parts = []
    for start in range(0, len(index), BATCH):
        parts.append(engine.run(pool.inputs[index[start : start + BATCH]], bank))
        tick(len(parts[-1].logits))
    embedding = [part.embedding for part in parts if part.embedding is not None]
    return ModelOutputs(
        bank, np.concatenate([part.logits for part in parts]), np.concatenate(embedding) if embedding else None
    )


def inputs_to_ask(pool: Pool, forgotten: int, class_ids: Sequence[int]) -> Index:
    """Return what the black-box attacks ask about: all of the class, and the others' test inputs."""
    others = [class_id for class_id in class_ids if class_id != forgotten]
    return np.concatenate([pool.find((TRAIN, VAL, TEST), [forgotten]), pool.find(TEST, others)])
