"""The same graph in fewer bits: float16 for GPUs, int8 for CPUs.

    graph = to_fp16(onnx.load("graph.onnx"))
    calibration = Calibration(bank, inputs, labels)
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from pfedge_export.graph import ExportError
from pfedge_runtime.decision import Bank
from pfedge_runtime.engine import BANK_INPUTS
from pfedge_runtime.errors import UsageError

PRECISIONS = ("fp32", "fp16", "int8")
QUANTIZATIONS = ("dynamic", "tensor", "static")
FEWEST_CALIBRATION_INPUTS = 16
CALIBRATION_BATCH = 8
QUANTISED = ("MatMul",)
LAYER_NORM_INPUTS = 3  # with weight and bias
TINY = 1e-5


def require_precision(precision: str, quantization: str) -> None:
    """Check that there is such a precision and quantisation.

    Raises:
        UsageError: there is not, or the second is asked for without int8.
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
                    _Reader(graph, calibration),
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
        _scale_by_token(quantised.graph)
    return quantised


def _scale_by_token(graph: onnx.GraphProto) -> None:
    """Give each token `[..., D]` the scale of its own largest value, where the whole tensor had one.

    The tensor's scale came out of DynamicQuantizeLinear and met the weights' `[C]` before both met the product. That
    order is changed: ONNX Runtime would fuse it into an operator that knows one scale only.
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
    values = next(_watch(graph, [node.input[0] for node in products], shown))
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
    for values in _watch(graph, names, calibration):
        for name, value in values.items():
            channels = np.abs(value).max(axis=(0, 1))
            largest[name] = np.maximum(largest.get(name, channels), channels)
    return largest


def _watch(
    graph: onnx.ModelProto, names: list[str], calibration: Calibration
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Yield what stands in tensors within the graph, a batch of real inputs at a time."""
    import onnxruntime

    names = list(dict.fromkeys(names))
    watched = onnx.ModelProto.FromString(graph.SerializeToString())
    watched.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    reader = _Reader(graph, calibration)
    while names and (batch := reader.get_next()) is not None:
        yield dict(zip(names, session.run(names, batch), strict=True))


def _replace(graph: onnx.ModelProto, node: onnx.NodeProto, index: int, value: NDArray[np.float32]) -> None:
    """Give a node a weight of its own: the one it had may be another node's too, where they were equal."""
    name = f"{node.name}.smooth.{index}"
    graph.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    node.input[index] = name


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


class _Reader:
    """What ONNX Runtime's quantiser asks for batches."""

    def __init__(self, graph: onnx.ModelProto, calibration: Calibration) -> None:
        names = [value.name for value in graph.graph.input]
        rows = {name: value for name, value in calibration.bank.graph_inputs().items() if name in names}
        (self._input,) = set(names) - BANK_INPUTS
        starts = range(0, len(calibration.inputs), CALIBRATION_BATCH)
        self._batches = iter({self._input: calibration.inputs[s : s + CALIBRATION_BATCH], **rows} for s in starts)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._batches, None)


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
