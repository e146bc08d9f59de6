"""Nodes of a graph that stay in float32 whatever its precision: the head's, and the pixels' normalisation."""

from __future__ import annotations

import onnx

from pfedge_runtime.engines import BANK_INPUTS


def head_nodes(graph: onnx.ModelProto) -> set[str]:
    """Return the names of the nodes that follow the head's weights: what makes logits of features."""
    return _following(graph, {"head_weight", "head_bias"})


def pixel_nodes(graph: onnx.ModelProto) -> set[str]:
    """Return the names of the nodes between the input and the first convolution."""
    inputs = {value.name for value in graph.graph.input} - BANK_INPUTS
    return _following(graph, inputs, until=("Conv",))


def _following(graph: onnx.ModelProto, tensors: set[str], until: tuple[str, ...] = ()) -> set[str]:
    """Return the names of the nodes that take one of these tensors, or what such a node gives; nodes are in order."""
    reached, found = set(tensors), set()
    for node in graph.graph.node:
        if node.op_type not in (*until, "Shape") and reached.intersection(node.input):
            found.add(node.name)
            reached.update(node.output)
    return found
