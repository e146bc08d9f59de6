"""What real inputs show of a graph, before it is put into eight bits.

calibration = Calibration(bank, inputs, labels)
graph = smooth(onnx.load("graph.onnx"), calibration)        # the same, with fewer outliers
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
LAYER_NORM_INPUTS = 3  # with weight and bias
TINY = 1e-5


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


def spread(count: int, most: int) -> NDArray[np.int64]:
    """Return at most `most` indices below `count`, evenly spread, increasing.

    >>> spread(10, 4).tolist()
    [0, 3, 6, 9]
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def smooth(graph: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    """Return a graph that computes the same, in which what LayerNorms give has fewer outliers.

    A channel that is large in every input costs all others their resolution in eight bits. Each channel is divided by a
    factor in the LayerNorm's weights and multiplied by it in those of the products that read it: SmoothQuant (Xiao et
    al., arXiv 2211.10438, equation 4 with alpha = 0.5).

    Raises:
        ExportError: the calibration inputs cannot be used.
    """
    calibration.require()
    graph = onnx.ModelProto.FromString(graph.SerializeToString())
    weights = {value.name: value for value in graph.graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    norms = [
        node
        for node in graph.graph.node
        if node.op_type == "LayerNormalization"
        and len(node.input) == LAYER_NORM_INPUTS
        and node.output[0] in readers
        and all(one.op_type == "MatMul" and one.input[1] in weights for one in readers[node.output[0]])
    ]
    largest = _largest(graph, [node.output[0] for node in norms], calibration)
    for node in norms:
        products = readers[node.output[0]]
        matrices = [onnx.numpy_helper.to_array(weights[product.input[1]]) for product in products]
        of_weights = np.max([np.abs(matrix).max(axis=1) for matrix in matrices], axis=0)
        factor = np.sqrt(np.maximum(largest[node.output[0]], TINY) / np.maximum(of_weights, TINY))
        for product, matrix in zip(products, matrices, strict=True):
            _replace(graph, product, 1, matrix * factor[:, None])
        for index in (1, 2):
            _replace(graph, node, index, onnx.numpy_helper.to_array(weights[node.input[index]]) / factor)
    used = {name for node in graph.graph.node for name in node.input}
    for value in [one for one in graph.graph.initializer if one.name not in used]:
        graph.graph.initializer.remove(value)
    return graph


def _largest(graph: onnx.ModelProto, names: list[str], calibration: Calibration) -> dict[str, NDArray[np.float32]]:
    """Return the largest absolute value of each channel `[D]` of tensors `[B, S, D]` on real inputs."""
    largest: dict[str, NDArray[np.float32]] = {}
    for values in watch(graph, names, calibration):
        for name, value in values.items():
            channels = np.abs(value).max(axis=(0, 1))
            largest[name] = np.maximum(largest.get(name, channels), channels)
    return largest


def watch(
    graph: onnx.ModelProto, names: list[str], calibration: Calibration
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Yield what stands in tensors within the graph, a batch of real inputs at a time."""
    import onnxruntime

    names = list(dict.fromkeys(names))
    watched = onnx.ModelProto.FromString(graph.SerializeToString())
    watched.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    reader = Batches(graph, calibration)
    while names and (batch := reader.get_next()) is not None:
        yield dict(zip(names, session.run(names, batch), strict=True))


def _replace(graph: onnx.ModelProto, node: onnx.NodeProto, index: int, value: NDArray[np.float32]) -> None:
    """Give a node a weight of its own: the one it had may be another node's too, where they were equal."""
    name = f"{node.name}.smooth.{index}"
    graph.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    node.input[index] = name


class Batches:
    """What ONNX Runtime's quantiser asks for batches."""

    def __init__(self, graph: onnx.ModelProto, calibration: Calibration) -> None:
        names = [value.name for value in graph.graph.input]
        rows = {name: value for name, value in calibration.bank.graph_inputs().items() if name in names}
        (self._input,) = set(names) - BANK_INPUTS
        starts = range(0, len(calibration.inputs), CALIBRATION_BATCH)
        self._batches = iter({self._input: calibration.inputs[s : s + CALIBRATION_BATCH], **rows} for s in starts)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next batch, by the names of the graph's inputs; None at the end."""
        return next(self._batches, None)
