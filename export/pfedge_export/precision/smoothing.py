"""The same graph with fewer outliers in what LayerNorms give, so that eight bits hold it better.

graph = smooth(onnx.load("graph.onnx"), calibration)
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray

from pfedge_export.precision.calibration import TINY, Calibration, activations

LAYER_NORM_INPUTS = 3  # with weight and bias


def smooth(graph: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
    """Return a graph that computes the same, in which what LayerNorms give has fewer outliers.

    A channel that is large in every input costs all others their resolution in eight bits. Each channel j is divided by
    a factor in the LayerNorm's weight and bias, and multiplied by it in the weights of the products that read it, so
    that nothing changes but where the large numbers stand: SmoothQuant (Xiao et al., arXiv 2211.10438, equation 4):

        factor_j = max|X_j|^alpha / max|W_j|^(1 - alpha), alpha = 0.5

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
        # alpha = 0.5 shares the difficulty evenly: afterwards activations and weights of a channel are equally large
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
    for values in activations(graph, names, calibration):
        for name, value in values.items():
            channels = np.abs(value).max(axis=(0, 1))
            largest[name] = np.maximum(largest.get(name, channels), channels)
    return largest


def _replace(graph: onnx.ModelProto, node: onnx.NodeProto, index: int, value: NDArray[np.float32]) -> None:
    """Give a node a weight of its own: the one it had may be another node's too, where they were equal."""
    name = f"{node.name}.smooth.{index}"
    graph.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    node.input[index] = name
