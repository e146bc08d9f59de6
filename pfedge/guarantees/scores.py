"""What a graph says under any smaller bank, from one pass over the inputs.

scores = GUARANTEES["exact"].scores(model, split, console)      # the backbone runs here, once
scores.logits(bank.drop({3}))                                   # algebra
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.bank import Bank


class Scores:
    """The graph's outputs for a smaller bank, without the graph.

    Attributes:
        bank: all rows.
        embedding: float32 `[N, E]`, of all inputs.
    """

    def __init__(self, bank: Bank, embedding: NDArray[np.float32]) -> None:
        self.bank, self.embedding = bank, embedding

    def logits(self, bank: Bank) -> NDArray[np.float32]:
        """Return the logits `[N, R]` under a bank of some of the rows."""
        parts = bank.graph_inputs()
        logits: NDArray[np.float32] = self.embedding @ parts["head_weight"].T + parts["head_bias"]
        return logits


class IndependentScores(Scores):
    """Where rows are independent: the logits under any bank are columns of those `[N, R]` under the full one."""

    def __init__(self, bank: Bank, logits: NDArray[np.float32]) -> None:
        super().__init__(bank, np.zeros((len(logits), 0), dtype=np.float32))
        self._logits = logits
        self._column = {class_id: position for position, class_id in enumerate(bank.class_ids)}

    def logits(self, bank: Bank) -> NDArray[np.float32]:
        """Return the logits `[N, R]` under a bank of some of the rows."""
        return self._logits[:, [self._column[class_id] for class_id in bank.class_ids]]
