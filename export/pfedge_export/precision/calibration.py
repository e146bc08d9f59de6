"""What real inputs show of a graph, before it is put into eight bits.

calibration = Calibration(bank, inputs, labels)
for values in activations(graph, ["gelu_1", "gelu_2"], calibration):            # a batch at a time
...
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from pfedge_export.graph import ExportError
from pfedge_runtime.bank import Bank
from pfedge_runtime.engines import BANK_INPUTS

FEWEST_CALIBRATION_INPUTS = 16
CALIBRATION_BATCH = 8
TINY = 1e-5  # below it a largest value is taken for noise: nothing is divided by it


@dataclass(frozen=True)
class Calibration:
    """Real inputs that show how large activations get.

    Attributes:
        bank: the rows they meet.
        inputs: `[N, ...]` of the graph's size.
        labels: their class ids, int64 `[N]`.
    """

    bank: Bank
    inputs: NDArray[Any]
    labels: NDArray[np.int64]

    def require(self) -> None:
        """Check that they can stand for what will come.

        Raises:
            ExportError: there are too few, or they are of one class alone.
        """
        classes = len(np.unique(self.labels))
        if len(self.inputs) < FEWEST_CALIBRATION_INPUTS or (classes < 2 <= len(self.bank)):  # noqa: PLR2004 -- one class
            message = (
                f"cannot calibrate int8 on {len(self.inputs)} inputs of {classes} classes: it takes at least "
                f"{FEWEST_CALIBRATION_INPUTS}, of two classes or more"
            )
            raise ExportError(message)


def evenly_spaced(count: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` indices below `count`, evenly spread, increasing.

    >>> evenly_spaced(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def activations(
    graph: onnx.ModelProto, names: list[str], calibration: Calibration
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Yield the values of tensors within the graph, name -> `[B, ...]`, a batch of real inputs at a time."""
    import onnxruntime

    names = list(dict.fromkeys(names))
    watched = onnx.ModelProto.FromString(graph.SerializeToString())
    watched.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    reader = Batches(graph, calibration)
    while names and (batch := reader.get_next()) is not None:
        yield dict(zip(names, session.run(names, batch), strict=True))


class Batches:
    """The calibration inputs in batches, each with the bank's rows, in the form that ONNX Runtime's quantiser reads."""

    def __init__(self, graph: onnx.ModelProto, calibration: Calibration) -> None:
        names = [value.name for value in graph.graph.input]
        rows = {name: value for name, value in calibration.bank.graph_inputs().items() if name in names}
        (self._input,) = set(names) - BANK_INPUTS
        starts = range(0, len(calibration.inputs), CALIBRATION_BATCH)
        self._batches = iter({self._input: calibration.inputs[s : s + CALIBRATION_BATCH], **rows} for s in starts)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next batch, by the names of the graph's inputs; None at the end."""
        return next(self._batches, None)
