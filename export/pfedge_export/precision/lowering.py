"""A graph of fewer bits in the place of the one in float32, if its gate lets it.

    report, engine = lower(folder / "graph.onnx", engine, bank, validation, precision="int8")

Under int8 as many products are taken as the gate allows: where it refuses the graph, those that lose most in eight bits
go back to float32, a few more each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import onnx

from pfedge_export.graph import finish_graph
from pfedge_export.precision.calibration import Calibration, evenly_spaced
from pfedge_export.precision.fp16 import to_fp16
from pfedge_export.precision.gate import MAX_DROP, GateReport, Validation, gate
from pfedge_export.precision.int8 import quantise
from pfedge_export.precision.sensitivity import products_by_loss
from pfedge_export.precision.smoothing import smooth
from pfedge_runtime.bank import Bank
from pfedge_runtime.bundle import STATIC_GRAPH
from pfedge_runtime.engines import Engine, OnnxRuntimeEngine, StaticEngine
from pfedge_runtime.errors import UsageError

CALIBRATION_INPUTS = 128
SHARES_KEPT = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)  # of the products, in float32


def lower(
    graph: Path,
    reference: Engine,
    bank: Bank,
    validation: Validation | None,
    *,
    precision: str,
    quantization: str = "dynamic",
    max_drop: float = MAX_DROP,
    on_progress: Callable[[str], None] = lambda _: None,
) -> tuple[GateReport, OnnxRuntimeEngine]:
    """Replace the graph's file, and that of the graph with fixed shapes beside it; return the gate's report.

    Args:
        graph: `graph.onnx`, in float32.
        reference: runs it.
        bank: all rows.
        validation: what it is judged on, and calibrated on under int8.
        precision: `fp16` or `int8`.
        quantization: of int8: see `to_int8`.
        max_drop: by how much accuracy may fall.
        on_progress: told what is being done.

    Raises:
        GateError: it decides otherwise too often, under int8 with half of the products in float32 too.
        UsageError: there is nothing to judge it on, or the graph is too large.
        ExportError: it cannot be converted.
    """
    if validation is None or not len(validation.inputs):
        message = f"--precision {precision} needs validation inputs to be judged on, and there are none"
        raise UsageError(message)
    if graph.with_name(graph.name + ".data").exists():
        message = f"a graph above 2 GB is exported in fp32 only, not in {precision}"
        raise UsageError(message)
    judge = partial(gate, reference, bank=bank, validation=validation, max_drop=max_drop)
    whole = onnx.load(graph)
    tries = _in_fp16(whole) if precision == "fp16" else _in_int8(whole, bank, validation, quantization)
    for lowered, kept, products in tries:
        finish_graph(lowered, graph, bank)
        engine = OnnxRuntimeEngine(graph)
        report = judge(engine, precision=precision)
        if precision == "int8":
            report = replace(report, quantization=quantization, float32_products=kept, products=products)
        if report.passed:
            break
        on_progress(f"{precision} with {kept} of {products} products in float32 fails its gate")
    report.require()
    static = graph.with_name(STATIC_GRAPH)
    if static.exists() and precision == "fp16":  # int8 is for CPUs, which need no fixed shapes
        finish_graph(to_fp16(onnx.load(static)), static, bank)
        judge(StaticEngine(static), precision=f"{STATIC_GRAPH} in fp16").require()
    return report, engine


def _in_fp16(whole: onnx.ModelProto) -> Iterator[tuple[onnx.ModelProto, int, int]]:
    yield to_fp16(whole), 0, 0


def _in_int8(
    whole: onnx.ModelProto, bank: Bank, validation: Validation, quantization: str
) -> Iterator[tuple[onnx.ModelProto, int, int]]:
    """Yield graphs, each with more products left in float32 than the one before: how many, of how many."""
    some = evenly_spaced(len(validation.inputs), CALIBRATION_INPUTS)  # they may come class by class
    calibration = Calibration(bank, validation.inputs[some], validation.labels[some])
    whole = smooth(whole, calibration)
    products = products_by_loss(whole, calibration, quantization)
    for count in dict.fromkeys(round(share * len(products)) for share in SHARES_KEPT):
        yield quantise(whole, calibration, quantization, keep=products[:count]), count, len(products)
