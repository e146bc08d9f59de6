"""Which products lose most in eight bits: those go back to float32 first where a graph fails its gate.

products_by_loss(smoothed, calibration)[:8]           # names of the worst eight
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from pfedge_export.precision.calibration import CALIBRATION_BATCH, TINY, Calibration, activations, evenly_spaced
from pfedge_export.precision.int8 import QUANTISED
from pfedge_export.precision.nodes import head_nodes


def products_by_loss(graph: onnx.ModelProto, calibration: Calibration, quantization: str = "dynamic") -> list[str]:
    """Return the names of the products that `quantise` takes, those first that lose most in eight bits.

    A product of activations X `[N, D]` and weights W `[D, C]` loses |q(X) q(W) - X W| / |X W| (Frobenius norms) on a
    few real inputs. q rounds weights by column to 255 levels. It rounds activations to 256 levels from their smallest
    to their largest, and under `dynamic` each token to 255.
    """
    weights = {value.name: value for value in graph.graph.initializer}
    head = head_nodes(graph)
    products = [
        node
        for node in graph.graph.node
        if node.op_type in QUANTISED and node.input[1] in weights and node.name not in head
    ]
    few = evenly_spaced(len(calibration.inputs), CALIBRATION_BATCH)
    shown = replace(calibration, inputs=calibration.inputs[few])
    values = next(activations(graph, [node.input[0] for node in products], shown))
    lost = {}
    for node in products:
        matrix = onnx.numpy_helper.to_array(weights[node.input[1]])
        taken = values[node.input[0]].reshape(-1, len(matrix))
        exact = taken @ matrix
        rounded = _by_column(taken.T).T if quantization == "dynamic" else _levels(taken)
        error = rounded @ _by_column(matrix) - exact
        lost[node.name] = float(np.linalg.norm(error)) / max(float(np.linalg.norm(exact)), TINY)
    return sorted(lost, key=lost.__getitem__, reverse=True)


def _levels(activations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to the 256 levels of uint8 that hold zero and all values."""
    # as ONNX Runtime's DynamicQuantizeLinear: zero is a level of its own, so that padding and ReLU's zeros stay exact
    low, high = min(0.0, float(activations.min())), max(0.0, float(activations.max()))
    step = max(high - low, TINY) / 255
    rounded: NDArray[np.float32] = np.rint(activations / step) * np.float32(step)
    return rounded


def _by_column(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round each column to the 255 levels of int8 that hold its largest value."""
    # symmetric, so that no zero point takes part in the product: step = max |column| / 127
    step = np.maximum(np.abs(matrix).max(axis=0), TINY) / 127
    rounded: NDArray[np.float32] = np.rint(matrix / step) * step
    return rounded
