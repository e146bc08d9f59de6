"""`pfedge export`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pfedge.cli.extras import needs
from pfedge.cli.options import DataRootOption, MaxPixelsOption
from pfedge.cli.output import print_json, say, suggest
from pfedge.cli.panels import DATA, OUTPUT
from pfedge.cli.training.options import DownloadOption, ModelPlaceOption, from_options
from pfedge_runtime.errors import UsageError

if TYPE_CHECKING:
    from pfedge.exporting import ExportSettings
    from pfedge.runs import Run
    from pfedge_export import ParityReport
    from pfedge_runtime.bundle import Bundle

TARGETS = ("onnx", "tensorrt", "tensorrt-rtx")
GRAPH = "Graph and engines"
PRECISION = "Precision"
PARITY = "Parity"
PROOF = "Signing, sealing, audits"

RunArgument = Annotated[Path, typer.Argument(help="A run folder, a checkpoint, or a bundle that gets engines.")]
TargetOption = Annotated[
    str,
    typer.Option(
        help="onnx; with engines too: tensorrt (for the GPU that is here), tensorrt-rtx (ahead of time).",
        rich_help_panel=GRAPH,
    ),
]
OpsetOption = Annotated[int, typer.Option(min=18, help="ONNX opset.", rich_help_panel=GRAPH)]
StaticBatchOption = Annotated[
    int,
    typer.Option(
        min=0,
        help="Add a graph with fixed shapes (CUDA graphs), for so many images; 0: none.",
        rich_help_panel=GRAPH,
    ),
]
CapabilityOption = Annotated[
    str,
    typer.Option(help="tensorrt-rtx: GPUs to build for.", show_default="8.6,8.9,12.0", rich_help_panel=GRAPH),
]
MaxBatchOption = Annotated[
    int, typer.Option(min=1, help="Engines: the most images a call may bring.", rich_help_panel=GRAPH)
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        help="What the graph computes in: fp32, fp16 (GPUs), int8 (CPUs); fewer bits are judged first.",
        show_default="fp32; with engines fp16",
        rich_help_panel=PRECISION,
    ),
]
QuantizationOption = Annotated[
    str,
    typer.Option(
        help="Where int8 has its scales from: dynamic (each token), tensor (all of a batch: faster for one image, "
        "but its score depends on those beside it; not under isolated), static (validation images).",
        rich_help_panel=PRECISION,
    ),
]
MaxDropOption = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="By how much validation accuracy may fall in fewer bits (0.005: half a point).",
        rich_help_panel=PRECISION,
    ),
]
ParityInputsOption = Annotated[
    int, typer.Option(min=0, help="Test inputs to compare on; 0: all.", rich_help_panel=PARITY)
]
ToleranceOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Largest logit difference allowed.",
        show_default="1e-4; exact: 1e-5 of the largest logit",
        rich_help_panel=PARITY,
    ),
]
DatasetOption = Annotated[
    str | None, typer.Option(help="Where test inputs come from.", show_default="the run's", rich_help_panel=DATA)
]
SignOption = Annotated[
    Path | None, typer.Option(help="Sign the bundle with this private key (see keygen).", rich_help_panel=PROOF)
]
SealOption = Annotated[
    bool,
    typer.Option(
        "--seal",
        help="Encrypt each row; the keys go to OUT.keys.json, for pfedge adopt.",
        rich_help_panel=PROOF,
    ),
]
AuditOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="report.json of pfedge audit; its digest goes into bundle and receipts. Repeatable.",
        rich_help_panel=PROOF,
    ),
]
OutOption = Annotated[
    Path, typer.Option("--out", "-o", help="The bundle's folder, new or empty.", rich_help_panel=OUTPUT)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the parity report as JSON.", rich_help_panel=OUTPUT)]


def export(
    run: RunArgument,
    *,
    to: TargetOption = "onnx",
    graph_opset: OpsetOption = 20,
    static_batch: StaticBatchOption = 0,
    compute_capability: CapabilityOption = "",
    max_batch: MaxBatchOption = 32,
    precision: PrecisionOption = None,
    quantization: QuantizationOption = "dynamic",
    max_drop: MaxDropOption = 0.005,
    parity_inputs: ParityInputsOption = 100,
    tolerance: ToleranceOption = None,
    dataset: DatasetOption = None,
    data_root: DataRootOption = None,
    download: DownloadOption = True,
    max_pixels: MaxPixelsOption = None,
    model_name: ModelPlaceOption = None,
    sign: SignOption = None,
    seal: SealOption = False,
    audit: AuditOption = None,
    out: OutOption = Path("bundle"),
    as_json: JsonOption = False,
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
    options = locals()
    capabilities = _capabilities(to, compute_capability)
    with needs("train", "export"):
        from pfedge.runs import Run
        from pfedge_export.tensorrt import EngineBuilder, build_engines
    from pfedge_runtime.bundle import MANIFEST, Bundle

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
        bundle, report = _export(Run.open(run), _settings(options))
        outcome = {"parity": report.to_json(), "gate": bundle.manifest.gate}
    if builder is not None:
        built = build_engines(bundle, builder, capabilities=capabilities, max_batch=max_batch, on_progress=_say)
        outcome["engines"] = [one.to_json() for one in built]
    if as_json:
        print_json("export", {"bundle": str(bundle.path), **outcome})
    else:
        _show(outcome)
        say(f"bundle: {bundle.path} (model {bundle.manifest.model_id}, {bundle.manifest.precision})")
        suggest("verify", bundle.path, "--selftest")


def _capabilities(target: str, listed: str) -> tuple[str, ...]:
    """Return the GPUs that engines are built for ahead of time.

    Raises:
        UsageError: there is no such target, or it builds for the GPU that is here.
    """
    if target not in TARGETS:
        message = f"unknown target {target!r}; known are {', '.join(TARGETS)}"
        raise UsageError(message)
    capabilities = tuple(part.strip() for part in listed.split(",") if part.strip())
    if capabilities and target != "tensorrt-rtx":
        message = "--compute-capability needs --to tensorrt-rtx"
        raise UsageError(message)
    return capabilities


def _export(run: Run, settings: ExportSettings) -> tuple[Bundle, ParityReport]:
    """Export a run, with a bar while torch and ONNX Runtime are compared."""
    from rich.console import Console

    from pfedge.exporting import export_run
    from pfedge.progress import bars

    with bars(Console(stderr=True)) as progress:
        bar = progress.add_task("comparing", total=None)

        def move(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        return export_run(run, settings, on_progress=_say, on_count=move)


def _settings(options: Mapping[str, Any]) -> ExportSettings:
    """Return how a run is exported; engines are built of a graph in float16 unless another precision is asked for."""
    from pfedge.exporting import ExportSettings
    from pfedge_runtime.signing import PrivateKey

    return from_options(
        ExportSettings,
        options,
        opset=options["graph_opset"],
        precision=options["precision"] or ("fp32" if options["to"] == "onnx" else "fp16"),
        keys_out=_keys_beside(options["out"]) if options["seal"] else None,
        signer=PrivateKey.load(options["sign"]) if options["sign"] else None,
        audits=tuple(options["audit"] or ()),
    )


def _keys_beside(out: Path) -> Path:
    out = out if out.name else out.resolve()  # "." has no name to add to
    return out.with_name(f"{out.name}.keys.json")


def _say(what: str) -> None:
    say(f"{what} ...", err=True)


def _show(outcome: dict[str, Any]) -> None:
    """Print what was compared and built."""
    if parity := outcome.get("parity"):
        unit = " of the largest logit" if parity["relative"] else ""
        say(f"parity, {parity['engine']} against torch in float32, tolerance {parity['tolerance']:.0e}{unit}:")
        for bank in parity["banks"]:
            say(
                f"  {bank['bank']:<22} {bank['inputs']} inputs   decisions agree {bank['agreement']:.2%}   "
                f"largest difference {bank['largest_difference']:.1e}"
            )
    if gate := outcome.get("gate"):
        kept = ""
        if "products" in gate:
            kept = f" {gate['quantization']} ({gate['float32_products']} of {gate['products']} products in float32)"
        say(f"{gate['precision']}{kept} against float32, validation inputs:")
        for bank in gate["banks"]:
            say(
                f"  {bank['bank']:<22} {bank['inputs']} inputs   decisions agree {bank['agreement']:.2%}   "
                f"accuracy {bank['accuracy']:.3f} against {bank['accuracy_fp32']:.3f}"
            )
    for engine in outcome.get("engines", ()):
        say(
            f"engine for {engine['target']}: {engine['bytes'] / 1e6:.1f} MB in {engine['seconds']:.1f} s, "
            f"{engine['path']}"
        )
