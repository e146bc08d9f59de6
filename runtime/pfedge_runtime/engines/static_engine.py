"""The graph with fixed shapes, `graph.static.onnx`: every call has one batch size and the same number of rows.

    engine = StaticEngine(bundle.static_graph_path)
    logits, _ = engine.run(inputs, bank.drop({3}))       # as the dynamic graph: one column per row that is left

Rows that were forgotten are masked in the graph, and what stood in their place is overwritten with zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.bank import Bank
from pfedge_runtime.engines.engine import ROW_MASK, Outputs
from pfedge_runtime.engines.onnxruntime_engine import OnnxRuntimeEngine
from pfedge_runtime.errors import UsageError


@dataclass(frozen=True, eq=False)
class PaddedBank:
    """What a graph with fixed shapes takes of a bank: its rows, zeros up to `size`, and which is which."""

    bank: Bank
    size: int

    def graph_inputs(self) -> dict[str, NDArray[Any]]:
        """Return the rows' tensors `[size, ...]` and `row_mask`, bool `[size]`.

        Raises:
            UsageError: the bank has more rows than that.
        """
        rows = len(self.bank)
        if rows > self.size:
            message = f"the bank has {rows} rows; the static graph was exported for {self.size}"
            raise UsageError(message)
        padded: dict[str, NDArray[Any]] = {}
        for name, part in self.bank.graph_inputs().items():
            # a row of zeros would still take part in attention: the mask drops it, zeros leave nothing of it behind
            padded[name] = np.zeros((self.size, *part.shape[1:]), dtype=part.dtype)
            padded[name][:rows] = part
        return {**padded, ROW_MASK: np.arange(self.size) < rows}


class StaticEngine:
    """ONNX Runtime on the graph with fixed shapes.

    Attributes:
        batch: inputs of every call; fewer are padded, more are taken in turns.
        rows: R_max.
    """

    def __init__(self, graph: Path, *, device: str = "cpu", threads: int = 0) -> None:
        """Load the graph.

        Raises:
            PfedgeError: as `OnnxRuntimeEngine`.
        """
        self.engine = OnnxRuntimeEngine(graph, device=device, threads=threads)
        self.batch = self.engine.input_shape[0]
        self.rows = self.engine.shape_of("head_bias")[0]
        self._padded: PaddedBank | None = None

    def run(self, inputs: NDArray[Any], bank: Bank) -> Outputs:
        """Return the outputs for images `[B, H, W, 3]` or features, one column of logits per row in bank order.

        Raises:
            UsageError: the bank has more rows than the graph.
            PfedgeError: as `OnnxRuntimeEngine.run`.
        """
        padded = self._padded  # one look: another thread may put its own there meanwhile
        if padded is None or padded.bank is not bank:
            padded = self._padded = PaddedBank(bank, self.rows)
        logits, embeddings = [], []
        for start in range(0, len(inputs), self.batch):
            chunk = inputs[start : start + self.batch]
            full = np.zeros((self.batch, *chunk.shape[1:]), dtype=chunk.dtype)
            full[: len(chunk)] = chunk
            outputs = self.engine.run(full, padded)
            logits.append(outputs.logits[: len(chunk), : len(bank)])
            if outputs.embedding is not None:
                embeddings.append(outputs.embedding[: len(chunk)])
        if not logits:
            return Outputs(np.zeros((0, len(bank)), dtype=np.float32))
        return Outputs(np.concatenate(logits), np.concatenate(embeddings) if embeddings else None)
