"""`pfedge export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.extras import needs
from pfedge.cli.options import DataRootOption
from pfedge_runtime.errors import UsageError


def export(
    run: Annotated[Path, typer.Argument(help="A run folder or a checkpoint.")],
    *,
    to: Annotated[str, typer.Option(help="Target; this version writes onnx.")] = "onnx",
    out: Annotated[Path, typer.Option("--out", "-o", help="The bundle's folder, new or empty.")] = Path("bundle"),
    graph_opset: Annotated[int, typer.Option(min=18, help="ONNX opset.")] = 20,
    parity_inputs: Annotated[int, typer.Option(min=0, help="Test inputs to compare on; 0: all.")] = 100,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0, help="Largest logit difference allowed.", show_default="1e-4; exact: 1e-5 of the largest logit"
        ),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Where test inputs come from.", show_default="the run's")] = None,
    model_name: Annotated[
        str | None, typer.Option(help="Where the backbone is now.", show_default="where it was in training")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(help="What the graph computes in: fp32, fp16 (GPUs), int8 (CPUs); fewer bits are judged first."),
    ] = "fp32",
    quantization: Annotated[
        str, typer.Option(help="int8: dynamic, or static with scales of validation images.")
    ] = "dynamic",
    max_drop: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="By how much validation accuracy may fall in fewer bits (0.005: half a point)."
        ),
    ] = 0.005,
    data_root: DataRootOption = None,
    download: Annotated[bool, typer.Option(help="Fetch a missing MedMNIST file.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the parity report as JSON.")] = False,
) -> None:
    """Export a run as a bundle for devices: graph, bank, manifest and self-test.

    The graph holds no row: the bank is its run-time input, so that forgetting never needs another export. Torch
    and ONNX Runtime are compared on real test inputs at several bank sizes; if they disagree, nothing is kept.
    """
    if to != "onnx":
        message = f"unknown target {to!r}; this version exports to onnx"
        raise UsageError(message)
    with needs("train", "export"):
        from pfedge.export import ExportSettings, export_run
        from pfedge.run import Run
    settings = ExportSettings(
        out=out,
        opset=graph_opset,
        parity_inputs=parity_inputs,
        tolerance=tolerance,
        dataset=dataset,
        model_name=model_name,
        data_root=data_root,
        download=download,
        precision=precision,
        quantization=quantization,
        max_drop=max_drop,
    )
    bundle, report = export_run(Run.open(run), settings, on_progress=lambda what: typer.echo(f"{what} ...", err=True))
    if as_json:
        typer.echo(json.dumps({"bundle": str(bundle.path), "parity": report.to_json(), "gate": bundle.manifest.gate}))
        return
    unit = " of the largest logit" if report.relative else ""
    typer.echo(f"parity, {report.engine} against torch, tolerance {report.tolerance:.0e}{unit}:")
    for bank in report.banks:
        typer.echo(
            f"  {bank.bank:<22} {bank.inputs} inputs   decisions agree {bank.agreement:.2%}   "
            f"largest difference {bank.largest_difference:.1e}"
        )
    for judged in bundle.manifest.gate.get("banks", ()):
        typer.echo(
            f"  {precision}, {judged['bank']:<22} {judged['inputs']} validation inputs   decisions agree "
            f"{judged['agreement']:.2%}   accuracy {judged['accuracy']:.3f} against {judged['accuracy_fp32']:.3f}"
        )
    typer.echo(f"bundle: {bundle.path} (model {bundle.manifest.model_id})")
