"""The same graph in int8, for CPUs.

    graph = to_int8(onnx.load("graph.onnx"), calibration)                   # each token has a scale of its own
    graph = to_int8(onnx.load("graph.onnx"), calibration, "static")         # scales from real inputs
    graph = quantise(smoothed, calibration, keep=products_by_loss(smoothed, calibration)[:8])  # all but the worst 8

Only the products with the backbone's weights are in eight bits. Inputs, outputs, the bank, the head, LayerNorm,
softmax, GELU, residuals and attention's own products stay in float32.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import onnx

from pfedge_export.graph import ExportError
from pfedge_export.precision.by_token import scale_by_token
from pfedge_export.precision.calibration import Batches, Calibration
from pfedge_export.precision.nodes import head_nodes
from pfedge_export.precision.smoothing import smooth
from pfedge_export.quiet import quiet
from pfedge_runtime.arguments import Texts, as_texts

QUANTISED = ("MatMul",)


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
    graph: onnx.ModelProto, calibration: Calibration, quantization: str = "dynamic", *, keep: Texts = ()
) -> onnx.ModelProto:
    """Return a smoothed graph with the backbone's matrix products in int8, but for the nodes in `keep`; see `to_int8`.

    Raises:
        ExportError: the calibration inputs cannot be used, or the quantiser refuses.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_dynamic, quantize_static

    calibration.require()
    with tempfile.TemporaryDirectory() as folder, quiet(""):
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(graph, source)
        options: dict[str, Any] = {
            "op_types_to_quantize": list(QUANTISED),
            "per_channel": True,
            "weight_type": QuantType.QInt8,
            "nodes_to_exclude": sorted(head_nodes(graph) | set(as_texts(keep))),
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
