"""From a torch module to an ONNX graph with the bank as an input.

The signature (B, P, R stay symbolic; a guarantee may do without prompts, may have P = R, and may give an embedding,
see `pfedge_runtime.bank.GraphSignature`):

    images       uint8    [B, H, W, 3]   or, for audio: features float32 [B, frames, mels]
    prompts      float32  [P, T, D]      P = 0 is legal
    head_weight  float32  [R, F]
    head_bias    float32  [R]
    -> logits    float32  [B, R]
    -> embedding float32  [B, E]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

from pfedge_export.quiet import quiet
from pfedge_runtime.bank import Bank, GraphSignature
from pfedge_runtime.engines import ROW_MASK
from pfedge_runtime.errors import PfedgeError
from pfedge_runtime.inputs import Preprocess

DEFAULT_OPSET = 20
OLDEST_OPSET = 18
EXTERNAL_DATA_BYTES = 2 * 10**9  # protobuf cannot hold more than 2 GiB
TRACE_BATCH = 2
TRACE_ROWS = 3
CHATTY = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")  # the loggers of what torch exports with


class ExportError(PfedgeError):
    """The module cannot be turned into the graph that was asked for."""


def trace_inputs(
    bank: Bank,
    preprocess: Preprocess,
    signature: GraphSignature,
    *,
    batch: int = TRACE_BATCH,
    rows: int = TRACE_ROWS,
    free: bool = True,
) -> dict[str, Tensor]:
    """Return inputs of the right shapes with made-up values: no row's bytes may reach the exporter.

    `free` gives one more row of prompts than of heads where P and R are free of each other: the exporter takes for one
    dimension what has one size.
    """
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(batch, *preprocess.shape, generator=generator)
    inputs = {preprocess.input_name: (values * 255).byte() if preprocess.dtype == "uint8" else values}
    for name, shape in bank.row_shapes().items():
        more = free and signature.rows[name] == "P"
        inputs[name] = torch.randn(rows + more, *shape, generator=generator)
    return inputs


def export_graph(
    module: nn.Module,
    bank: Bank,
    path: Path,
    preprocess: Preprocess,
    signature: GraphSignature,
    *,
    opset: int = DEFAULT_OPSET,
) -> onnx.ModelProto:
    """Write the ONNX graph of `module` to `path`; above 2 GB its weights go to `<path>.data`.

    Args:
        module: maps the inputs above, in that order, to the outputs; no row of the bank may be among its weights.
        bank: gives the fixed dimensions T, D and F.
        path: where the graph goes.
        preprocess: gives the first input's name, shape and dtype.
        signature: its inputs and outputs.
        opset: ONNX opset version.

    Returns:
        The graph, without external weights.

    Raises:
        ExportError: torch or ONNX refuses, a dimension did not stay symbolic, or a row's bytes are in the graph.
    """
    require_opset(opset)
    inputs = trace_inputs(bank, preprocess, signature)
    dims = {"B": Dim("B", min=1), "P": Dim("P", min=0), "R": Dim("R", min=1)}
    dynamic = tuple({0: dims[signature.rows.get(name, "B")]} for name in inputs)
    graph = _traced(module, inputs, dynamic, signature, opset, path)
    finish_graph(graph, path, bank)
    require_symbolic(graph, preprocess, signature)
    return graph


def export_static_graph(
    module: nn.Module,
    bank: Bank,
    path: Path,
    preprocess: Preprocess,
    signature: GraphSignature,
    *,
    opset: int = DEFAULT_OPSET,
    batch: int = 1,
) -> onnx.ModelProto:
    """Write the graph with fixed shapes: `batch` inputs, as many rows as `bank` has, and `row_mask`, bool `[R_max]`.

    Args:
        module: as for `export_graph`, with `row_mask` as its last input.
        bank: all rows.
        path: where the graph goes.
        preprocess: as for `export_graph`.
        signature: likewise.
        opset: likewise.
        batch: B.

    Raises:
        ExportError: as `export_graph`.
    """
    require_opset(opset)
    inputs = trace_inputs(bank, preprocess, signature, batch=batch, rows=len(bank), free=False)
    inputs[ROW_MASK] = torch.arange(len(bank)) % 2 == 0  # a mixture, so that no branch is folded away
    graph = _traced(module, inputs, None, signature, opset, path)
    finish_graph(graph, path, bank)
    shapes = [dim for value in describe(graph.graph.input).values() for dim in value["shape"]]
    if any(isinstance(dim, str) for dim in shapes):
        message = f"the static graph has symbolic dimensions: {describe(graph.graph.input)}"
        raise ExportError(message)
    return graph


def require_opset(opset: int) -> None:
    """Check an ONNX opset version.

    Raises:
        ExportError: it is too old, or newer than the installed onnx.
    """
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        message = f"cannot export to ONNX opset {opset}: choose {OLDEST_OPSET} to {newest}"
        raise ExportError(message)


def _traced(
    module: nn.Module,
    inputs: dict[str, Tensor],
    dynamic: tuple[dict[int, Any], ...] | None,
    signature: GraphSignature,
    opset: int,
    path: Path,
) -> onnx.ModelProto:
    """Write what torch makes of a module to `path`, and return it without external weights."""
    weight_bytes = sum(value.numel() * value.element_size() for value in module.state_dict().values())
    external = weight_bytes > EXTERNAL_DATA_BYTES
    try:
        with quiet(*CHATTY), torch.no_grad():
            program = torch.onnx.export(
                module.eval().cpu(),
                tuple(inputs.values()),
                dynamo=True,
                opset_version=opset,
                dynamic_shapes=dynamic,
                input_names=list(inputs),
                output_names=list(signature.outputs),
                optimize=True,
                verbose=False,
            )
            if program is None:
                message = f"cannot export to ONNX opset {opset}: torch gave no program"
                raise ExportError(message)
            program.save(path, external_data=external)
        graph = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(path if external else graph)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        message = f"cannot export to ONNX opset {opset}: {first}"
        raise ExportError(message) from error
    if graph.opset_import[0].version != opset:
        message = f"cannot export to ONNX opset {opset}: torch wrote opset {graph.opset_import[0].version}"
        raise ExportError(message)
    return graph


def finish_graph(graph: onnx.ModelProto, path: Path, bank: Bank) -> None:
    """Write a graph without the notes of the tools that made it, and make sure that no row is in it.

    Raises:
        ExportError: a row's bytes are in the graph.
    """
    _strip_traces(graph)
    onnx.save(graph, path)
    require_no_row(path, bank)


def describe(values: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401 -- protobuf
    """Return name -> dtype and shape of graph inputs or outputs; symbolic dimensions are strings."""
    described = {}
    for value in values:
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        shape = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
        described[value.name] = {"dtype": dtype, "shape": shape}
    return described


def require_symbolic(graph: onnx.ModelProto, preprocess: Preprocess, signature: GraphSignature) -> None:
    """Check that B, P and R stayed symbolic and the rest stayed fixed.

    Raises:
        ExportError: a name or a dimension is not what the signature says.
    """
    found = {**describe(graph.graph.input), **describe(graph.graph.output)}
    symbolic = {name: [dim for dim in value["shape"] if isinstance(dim, str)] for name, value in found.items()}
    expected = {preprocess.input_name: ["B"]} | {name: [dim] for name, dim in signature.rows.items()}
    expected |= {name: list(dims) for name, dims in signature.outputs.items()}
    if symbolic != expected:
        message = f"the exported graph has symbolic dimensions {symbolic}, expected {expected}"
        raise ExportError(message)


def require_no_row(path: Path, bank: Bank) -> None:
    """Check that no prompt token, head vector or mean of any row is in the graph at `path` or its weights.

    The files are searched for the vectors' bytes, and every weight for the vectors along any of its axes,
    since an exporter may transpose what it stores.

    Raises:
        ExportError: one is there.
    """
    files = [file.read_bytes() for file in (path, path.with_name(path.name + ".data")) if file.exists()]
    weights = [onnx.numpy_helper.to_array(weight) for weight in onnx.load(path).graph.initializer]
    for row, vector in bank.vectors():
        if any(vector.tobytes() in data for data in files) or any(_holds(weight, vector) for weight in weights):
            message = f"{path.name} contains the row of class {row}; nothing was exported"
            raise ExportError(message)


def _holds(weight: NDArray[Any], vector: NDArray[Any]) -> bool:
    """Whether `vector` stands in `weight` along one of its axes."""
    return any(
        bool((np.moveaxis(weight, axis, -1) == vector).all(axis=-1).any())
        for axis, length in enumerate(weight.shape)
        if length == len(vector)
    )


def _strip_traces(graph: onnx.ModelProto) -> None:
    """Remove the exporter's debugging notes, which hold file paths of the machine that exported."""
    del graph.metadata_props[:]
    del graph.graph.metadata_props[:]
    for node in graph.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*graph.graph.input, *graph.graph.output, *graph.graph.value_info, *graph.graph.initializer):
        del value.metadata_props[:]
    del graph.graph.value_info[:]  # shapes are inferred again by whoever needs them
    graph.producer_name, graph.producer_version = "pfedge", ""
