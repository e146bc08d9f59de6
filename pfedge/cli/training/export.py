"""`pfedge export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pfedge.cli.extras import needs
from pfedge.cli.options import DataRootOption
from pfedge.cli.output import print_json
from pfedge_runtime.errors import UsageError

TARGETS = ("onnx", "tensorrt", "tensorrt-rtx")


def export(
    run: Annotated[Path, typer.Argument(help="A run folder, a checkpoint, or a bundle that gets engines.")],
    *,
    to: Annotated[
        str,
        typer.Option(help="onnx; with engines too: tensorrt (for the GPU that is here), tensorrt-rtx (ahead of time)."),
    ] = "onnx",
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
        str | None,
        typer.Option(
            help="What the graph computes in: fp32, fp16 (GPUs), int8 (CPUs); fewer bits are judged first.",
            show_default="fp32; with engines fp16",
        ),
    ] = None,
    quantization: Annotated[
        str,
        typer.Option(
            help="Where int8 has its scales from: dynamic (each token), tensor (all of a batch: faster for one image, "
            "but its score depends on those beside it; not under isolated), static (validation images)."
        ),
    ] = "dynamic",
    max_drop: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="By how much validation accuracy may fall in fewer bits (0.005: half a point)."
        ),
    ] = 0.005,
    static_batch: Annotated[
        int, typer.Option(min=0, help="Add a graph with fixed shapes (CUDA graphs), for so many images; 0: none.")
    ] = 0,
    compute_capability: Annotated[
        str, typer.Option(help="tensorrt-rtx: GPUs to build for.", show_default="8.6,8.9,12.0")
    ] = "",
    max_batch: Annotated[int, typer.Option(min=1, help="Engines: the most images a call may bring.")] = 32,
    sign: Annotated[Path | None, typer.Option(help="Sign the bundle with this private key (see keygen).")] = None,
    seal: Annotated[
        bool, typer.Option("--seal", help="Encrypt each row; the keys go to OUT.keys.json, for pfedge adopt.")
    ] = False,
    audit: Annotated[
        list[Path] | None,
        typer.Option(help="report.json of pfedge audit; its digest goes into bundle and receipts. Repeatable."),
    ] = None,
    data_root: DataRootOption = None,
    download: Annotated[bool, typer.Option(help="Fetch a missing MedMNIST file.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the parity report as JSON.")] = False,
) -> None:
    """Export a run as a bundle for devices: graph, bank, manifest and self-test.

    The graph holds no row: the bank is its run-time input, so that forgetting never needs another export. Torch
    and ONNX Runtime are compared on real test inputs at several bank sizes; if they disagree, nothing is kept.

    \b
    pfedge export runs/blood                                    float32, runs everywhere
    pfedge export runs/blood --precision int8                   for CPUs
    pfedge export runs/blood --to tensorrt-rtx                  float16, and an engine for each kind of GPU
    pfedge export bundle --to tensorrt-rtx                      engines for a bundle that is there
    pfedge export runs/blood --sign signer.pem --seal           signed, and each row under a key of its own
    pfedge export runs/blood --audit report/report.json         receipts will name the audit
    """
    if to not in TARGETS:
        message = f"unknown target {to!r}; known are {', '.join(TARGETS)}"
        raise UsageError(message)
    capabilities = tuple(part.strip() for part in compute_capability.split(",") if part.strip())
    if capabilities and to != "tensorrt-rtx":
        message = "--compute-capability needs --to tensorrt-rtx"
        raise UsageError(message)
    with needs("train", "export"):
        from pfedge.exporting import ExportSettings, export_run
        from pfedge.runs import Run
        from pfedge_export.tensorrt import EngineBuilder, build_engines
    from pfedge_runtime.bundle import MANIFEST, Bundle
    from pfedge_runtime.signing import PrivateKey

    builder = EngineBuilder(to) if to != "onnx" else None  # what is missing is said before the long work
    outcome: dict[str, Any] = {}
    if (run / MANIFEST).is_file():
        if sign or seal or audit:
            message = "--sign, --seal and --audit are of a new bundle: export the run again"
            raise UsageError(message)
        if builder is None:
            message = f"{run} is a bundle: --to tensorrt or tensorrt-rtx builds engines into it"
            raise UsageError(message)
        bundle = Bundle.open(run)
    else:
        settings = ExportSettings(
            out=out,
            opset=graph_opset,
            parity_inputs=parity_inputs,
            tolerance=tolerance,
            dataset=dataset,
            model_name=model_name,
            data_root=data_root,
            download=download,
            precision=precision or ("fp16" if builder else "fp32"),
            quantization=quantization,
            max_drop=max_drop,
            static_batch=static_batch,
            keys_out=_keys_beside(out) if seal else None,
            signer=PrivateKey.load(sign) if sign else None,
            audits=tuple(audit or ()),
        )
        bundle, report = export_run(Run.open(run), settings, on_progress=_say)
        outcome = {"parity": report.to_json(), "gate": bundle.manifest.gate}
    if builder is not None:
        built = build_engines(bundle, builder, capabilities=capabilities, max_batch=max_batch, on_progress=_say)
        outcome["engines"] = [one.to_json() for one in built]
    if as_json:
        print_json({"bundle": str(bundle.path), **outcome})
    else:
        _show(outcome)
        typer.echo(f"bundle: {bundle.path} (model {bundle.manifest.model_id}, {bundle.manifest.precision})")


def _keys_beside(out: Path) -> Path:
    out = out if out.name else out.resolve()  # "." has no name to add to
    return out.with_name(f"{out.name}.keys.json")


def _say(what: str) -> None:
    typer.echo(f"{what} ...", err=True)


def _show(outcome: dict[str, Any]) -> None:
    """Print what was compared and built."""
    if parity := outcome.get("parity"):
        unit = " of the largest logit" if parity["relative"] else ""
        typer.echo(f"parity, {parity['engine']} against torch in float32, tolerance {parity['tolerance']:.0e}{unit}:")
        for bank in parity["banks"]:
            typer.echo(
                f"  {bank['bank']:<22} {bank['inputs']} inputs   decisions agree {bank['agreement']:.2%}   "
                f"largest difference {bank['largest_difference']:.1e}"
            )
    if gate := outcome.get("gate"):
        kept = ""
        if "products" in gate:
            kept = f" {gate['quantization']} ({gate['float32_products']} of {gate['products']} products in float32)"
        typer.echo(f"{gate['precision']}{kept} against float32, validation inputs:")
        for bank in gate["banks"]:
            typer.echo(
                f"  {bank['bank']:<22} {bank['inputs']} inputs   decisions agree {bank['agreement']:.2%}   "
                f"accuracy {bank['accuracy']:.3f} against {bank['accuracy_fp32']:.3f}"
            )
    for engine in outcome.get("engines", ()):
        typer.echo(
            f"engine for {engine['target']}: {engine['bytes'] / 1e6:.1f} MB in {engine['seconds']:.1f} s, "
            f"{engine['path']}"
        )
