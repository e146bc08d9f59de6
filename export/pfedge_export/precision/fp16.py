"""The same graph in float16, for GPUs.

    graph = to_fp16(onnx.load("graph.onnx"))

Inputs, outputs, the bank, the head and the pixels' normalisation stay in float32.
"""

from __future__ import annotations

import onnx

from pfedge_export.graph import ExportError
from pfedge_export.precision.nodes import head_nodes, pixel_nodes
from pfedge_export.quiet import quiet


def to_fp16(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph computing in float16, with float32 inputs, outputs, bank, head and normalisation of pixels.

    Raises:
        ExportError: ONNX Runtime's converter refuses.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet(""):
        try:
            kept = pixel_nodes(graph) | head_nodes(graph)
            converted: onnx.ModelProto = convert_float_to_float16(
                onnx.shape_inference.infer_shapes(graph),  # it casts around what stays only where it knows types
                keep_io_types=True,
                disable_shape_infer=True,
                node_block_list=sorted(kept),
            )
        except (RuntimeError, ValueError) as error:
            message = f"cannot turn the graph into float16: {error}"
            raise ExportError(message) from error
    _remove_round_trips(converted.graph, kept)
    return converted


def _remove_round_trips(graph: onnx.GraphProto, kept: set[str]) -> None:
    """Remove casts to float16 and straight back between what is float32 already: inputs, outputs and `kept` nodes."""
    # x (float32) -> Cast to float16 -> Cast to float32 -> y rounds x for nothing: y becomes another name of x. Where y
    # is an output of the graph its name must stay, so that x is renamed instead.
    exact = {value.name for value in graph.input}
    exact |= {name for node in graph.node if node.name in kept for name in node.output}
    narrowed = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT16 and node.input[0] in exact
    }
    outputs = {value.name for value in graph.output}
    renamed: dict[str, str] = {}
    for node in list(graph.node):
        if node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT and node.input[0] in narrowed:
            source, target = narrowed[node.input[0]], node.output[0]
            renamed |= {source: target} if target in outputs else {target: source}
            graph.node.remove(node)
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renamed.get(name, name)
    used = {name for node in graph.node for name in node.input}
    for node in [one for one in graph.node if one.op_type == "Cast" and not used.intersection(one.output)]:
        if node.output[0] not in outputs:
            graph.node.remove(node)
