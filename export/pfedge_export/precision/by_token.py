"""A scale for each token of an int8 graph, in the place of one for all that is multiplied at once.

    scale_by_token(quantised.graph)

What ONNX Runtime's dynamic quantiser gives measures one scale over all rows and the whole batch: a score then depends
on what else is there.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from pfedge_export.precision.calibration import TINY


def scale_by_token(graph: onnx.GraphProto) -> None:
    """Give each token `[..., D]` the scale of its own largest value, where the whole tensor had one.

    What the quantiser wrote, and what stands there afterwards, where P is the product in int32:

        y = P * (tensor_scale * column_scale)             tensor_scale a scalar, column_scale `[C]`
        y = (P * column_scale) * token_scale              token_scale `[..., 1]`

    The order is changed on purpose: ONNX Runtime fuses the first form into MatMulIntegerToFloat, which knows one scale
    for all tokens only.
    """
    constants = {
        "by_token.axes": np.array([-1]),
        "by_token.tiny": np.array(TINY, dtype=np.float32),
        "by_token.levels": np.array(127, dtype=np.float32),
        "by_token.one": np.array(1, dtype=np.float32),
        "by_token.zero": np.array(128, dtype=np.uint8),
    }
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
    measured = [node for node in graph.node if node.op_type == "DynamicQuantizeLinear"]
    scales = {node.output[1] for node in measured}
    zeros = {node.output[2]: "by_token.zero" for node in measured}
    both = {}  # of tokens and columns, before they met the product
    for node in graph.node:
        if node.op_type == "Mul" and (tokens := scales.intersection(node.input)):
            both[node.output[0]] = (*tokens, *set(node.input).difference(tokens))
    rewritten: list[onnx.NodeProto] = []
    for node in graph.node:
        met = both.keys() & set(node.input)
        if node.op_type == "DynamicQuantizeLinear":
            rewritten += _quantise_tokens(node.name, node.input[0], *node.output[:2])
        elif met:
            (product,) = set(node.input).difference(met)
            tokens, columns = both[met.pop()]
            by_column = f"{node.name}.by_column"
            rewritten.append(onnx.helper.make_node("Mul", [product, columns], [by_column], by_column))
            rewritten.append(onnx.helper.make_node("Mul", [by_column, tokens], node.output, node.name))
        elif node.output[0] not in both:
            for index, name in enumerate(node.input):
                node.input[index] = zeros.get(name, name)
            rewritten.append(node)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(rewritten)


def _quantise_tokens(name: str, values: str, eight_bits: str, scale: str) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that round each token `[..., D]` to 255 levels about zero, uint8 with 128 for zero."""
    # scale = max |x| / 127, eight_bits = round(x / scale) + 128: zero is 128 in every token, a constant for the product
    steps = (
        ("Abs", [values], "abs"),
        ("ReduceMax", [f"{name}.abs", "by_token.axes"], "largest"),
        ("Max", [f"{name}.largest", "by_token.tiny"], "safe"),
        ("Div", [f"{name}.safe", "by_token.levels"], scale),
        ("Div", [values, scale], "scaled"),
        ("QuantizeLinear", [f"{name}.scaled", "by_token.one", "by_token.zero"], eight_bits),
    )
    for operator, inputs, output in steps:
        gives = output if output in {scale, eight_bits} else f"{name}.{output}"
        yield onnx.helper.make_node(operator, inputs, [gives], gives)
