"""The same graph in fewer bits: float16 for GPUs, int8 for CPUs.

    graph = to_fp16(onnx.load("graph.onnx"))
    graph = to_int8(onnx.load("graph.onnx"), calibration)                   # each token has a scale of its own
    graph = to_int8(onnx.load("graph.onnx"), calibration, "static")         # scales from real inputs
    graph = quantise(smoothed, calibration, keep=fragile(smoothed, calibration)[:8])        # all but the worst eight

Inputs and outputs keep their types. The bank, the head and the pixels' normalisation stay in float32, and under int8
all but the products with the backbone's weights: LayerNorm, softmax, GELU, residuals, attention's own products.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from pfedge_export.graph import ExportError
from pfedge_export.precision.by_token import scale_by_token
from pfedge_export.precision.calibration import CALIBRATION_BATCH, TINY, Batches, Calibration, smooth, spread, watch
from pfedge_runtime.bank import guarantee as guarantee_of
from pfedge_runtime.engines import BANK_INPUTS
from pfedge_runtime.errors import UsageError

PRECISIONS = ("fp32", "fp16", "int8")
QUANTIZATIONS = ("dynamic", "tensor", "static")
QUANTISED = ("MatMul",)


def require_precision(precision: str, quantization: str, guarantee: str) -> None:
    """Check that there is such a precision and quantisation, and that it keeps the guarantee.

    Raises:
        UsageError: it is not so, there is no such guarantee, or quantisation is asked for without int8.
    """
    for what, chosen, known in (
        ("precision", precision, PRECISIONS),
        ("quantization", quantization, QUANTIZATIONS),
    ):
        if chosen not in known:
            message = f"unknown {what} {chosen!r}: choose {', '.join(known)}"
            raise UsageError(message)
    if precision != "int8" and quantization != QUANTIZATIONS[0]:
        message = f"--quantization {quantization} is of --precision int8, not of {precision}"
        raise UsageError(message)
    if guarantee_of(guarantee).scores_stay and quantization == "tensor":
        message = "--quantization tensor gives all rows one scale, so that dropping one would move the others' scores"
        raise UsageError(message)


def to_fp16(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph computing in float16, with float32 inputs, outputs, bank, head and normalisation of pixels.

    Raises:
        ExportError: ONNX Runtime's converter refuses.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quiet():
        try:
            kept = _pixel_nodes(graph) | _head_nodes(graph)
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


def to_int8(graph: onnx.ModelProto, calibration: Calibration, quantization: str = "dynamic") -> onnx.ModelProto:
    """Return the graph with the backbone's matrix products in int8, weights by column.

    Before that, what LayerNorms give is smoothed: see `smooth`.

    Args:
        graph: in float32.
        calibration: real inputs.
        quantization: what activations take their scale from. `dynamic`: each token's own values, so that no output
            depends on other tokens by it. `tensor`: all values that are multiplied at once, a whole batch's and all
            rows'; faster on one input. `static`: the calibration inputs.

    Raises:
        ExportError: the calibration inputs cannot be used, or the quantiser refuses.
    """
    return quantise(smooth(graph, calibration), calibration, quantization)


def quantise(
    graph: onnx.ModelProto, calibration: Calibration, quantization: str = "dynamic", *, keep: Sequence[str] = ()
) -> onnx.ModelProto:
    """Return a smoothed graph with the backbone's matrix products in int8, but for the nodes in `keep`; see `to_int8`.

    Raises:
        ExportError: the calibration inputs cannot be used, or the quantiser refuses.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_dynamic, quantize_static

    calibration.require()
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, source)
        options: dict[str, Any] = {
            "op_types_to_quantize": list(QUANTISED),
            "per_channel": True,
            "weight_type": QuantType.QInt8,
            "nodes_to_exclude": sorted(_head_nodes(graph) | set(keep)),
        }
        try:
            if quantization != "static":
                quantize_dynamic(source, target, extra_options={"MatMulConstBOnly": True}, **options)
            else:
                quantize_static(
                    source,
                    target,
                    Batches(graph, calibration),
                    quant_format=QuantFormat.QDQ,
                    activation_type=QuantType.QUInt8,
                    calibrate_method=CalibrationMethod.MinMax,
                    extra_options={"MatMulConstBOnly": True},
                    **options,
                )
        except (RuntimeError, ValueError) as error:
            message = f"cannot quantise the graph: {error}"
            raise ExportError(message) from error
        quantised = onnx.load(target)
    if quantization == "dynamic":
        scale_by_token(quantised.graph)
    return quantised


def fragile(graph: onnx.ModelProto, calibration: Calibration, quantization: str = "dynamic") -> list[str]:
    """Return the names of the products that `quantise` takes, those first that lose most in eight bits.

    What a product loses is how far its output moves, relative to its size, when its activations are rounded to 256
    levels from their smallest to their largest, or under `dynamic` each token to 255, and its weights to 255 by column,
    on a few real inputs.
    """
    weights = {value.name: value for value in graph.graph.initializer}
    head = _head_nodes(graph)
    products = [
        node
        for node in graph.graph.node
        if node.op_type in QUANTISED and node.input[1] in weights and node.name not in head
    ]
    few = spread(len(calibration.inputs), CALIBRATION_BATCH)
    shown = replace(calibration, inputs=calibration.inputs[few])
    values = next(watch(graph, [node.input[0] for node in products], shown))
    lost = {}
    for node in products:
        matrix = onnx.numpy_helper.to_array(weights[node.input[1]])
        activations = values[node.input[0]].reshape(-1, len(matrix))
        exact = activations @ matrix
        rounded = _by_column(activations.T).T if quantization == "dynamic" else _levels(activations)
        error = rounded @ _by_column(matrix) - exact
        lost[node.name] = float(np.linalg.norm(error)) / max(float(np.linalg.norm(exact)), TINY)
    return sorted(lost, key=lost.__getitem__, reverse=True)


def _levels(activations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to the 256 levels of uint8 that hold zero and all values."""
    low, high = min(0.0, float(activations.min())), max(0.0, float(activations.max()))
    step = max(high - low, TINY) / 255
    rounded: NDArray[np.float32] = np.rint(activations / step) * np.float32(step)
    return rounded


def _by_column(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round each column to the 255 levels of int8 that hold its largest value."""
    step = np.maximum(np.abs(matrix).max(axis=0), TINY) / 127
    rounded: NDArray[np.float32] = np.rint(matrix / step) * step
    return rounded


def _remove_round_trips(graph: onnx.GraphProto, kept: set[str]) -> None:
    """Remove casts to float16 and straight back between what is float32 already: inputs, outputs and `kept` nodes."""
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


def _head_nodes(graph: onnx.ModelProto) -> set[str]:
    """Return the names of the nodes that follow the head's weights: what makes logits of features."""
    return _following(graph, {"head_weight", "head_bias"})


def _pixel_nodes(graph: onnx.ModelProto) -> set[str]:
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converters' advice off the terminal; their errors are raised anyway."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
