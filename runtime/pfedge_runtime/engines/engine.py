"""What evaluates the graph: one small protocol, one adapter per back end (`onnxruntime_engine`, `openvino_engine`).

engine = open_engine(bundle, "cpu")
logits, embedding = engine.run(inputs, bank)      # images uint8 [B, H, W, 3], or audio features -> float32 [B, R]
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.bank import GUARANTEES, Bank

ROW_MASK = "row_mask"  # of a graph with fixed shapes: which rows are there
BANK_INPUTS = {ROW_MASK}.union(*(one.graph.rows for one in GUARANTEES.values()))
OUTPUTS = set[str]().union(*(one.graph.outputs for one in GUARANTEES.values()))


class GraphInputs(Protocol):
    """A bank, or what stands for one."""

    def graph_inputs(self) -> dict[str, NDArray[Any]]:
        """Return what the graph takes beside the input."""


class Outputs(NamedTuple):
    """What the graph gives: logits float32 `[B, R]`, and where it has one the embedding float32 `[B, E]`."""

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32] | None = None


class Engine(Protocol):
    """Anything that can evaluate the graph."""

    def run(self, inputs: NDArray[Any], bank: Bank) -> Outputs:
        """Return the outputs for images `[B, H, W, 3]` or features, one column of logits per row in bank order."""


def first_line(error: Exception) -> str:
    """Return the first line of what a library's error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def last_line(error: Exception) -> str:
    """Return the last line of what a library's error says, where the first ones say in which of its files it arose."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
