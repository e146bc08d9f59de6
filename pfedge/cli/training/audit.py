"""`pfedge audit`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pfedge.cli.extras import needs
from pfedge.cli.options import DataRootOption, MaxPixelsOption
from pfedge.cli.output import print_json, say, suggest
from pfedge.cli.panels import DATA, OUTPUT
from pfedge.cli.training.options import (
    DownloadOption,
    ModelPlaceOption,
    TorchDeviceOption,
    TorchPrecisionOption,
    from_options,
)

if TYPE_CHECKING:
    from rich.table import Table

    from pfedge.auditing.report import AuditReport

STILL_TO_DO = 3
REDIRECTED_WIDTH = 160
MODELS = "What is attacked and compared"
MEASUREMENT = "Measurement"
BASELINES = "Other ways to forget"

RunArgument = Annotated[Path, typer.Argument(help="A run folder or checkpoint.", show_default=False)]
ForgetOption = Annotated[
    str, typer.Option("--forget", "-f", help="The class to forget, by id or name.", rich_help_panel=MODELS)
]
BundleOption = Annotated[
    Path | None,
    typer.Option(
        "--bundle", "-b", help="The deployed bundle.", show_default="one that is exported", rich_help_panel=MODELS
    ),
]
ReferenceOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="A run trained without the class; once for each.",
        show_default="trained, and kept",
        rich_help_panel=MODELS,
    ),
]
ReferencesOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="How many to train, each from its own seed.",
        show_default="exact 1, others 2",
        rich_help_panel=MODELS,
    ),
]
ShadowsOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Shadow models, an even number.",
        show_default="exact 32, isolated 8, shared 0",
        rich_help_panel=MODELS,
    ),
]
MarginOption = Annotated[
    float, typer.Option(min=0, max=1, help="Distances up to it are of no interest.", rich_help_panel=MEASUREMENT)
]
LimitOption = Annotated[
    int, typer.Option(min=1, help="At most so many inputs of each class and split.", rich_help_panel=MEASUREMENT)
]
SeedOption = Annotated[int, typer.Option(min=0, help="Of every draw of the audit.", rich_help_panel=MEASUREMENT)]
CompareOption = Annotated[
    bool,
    typer.Option(
        "--compare",
        help="Compare with six other ways to forget, on an ordinary network.",
        rich_help_panel=BASELINES,
    ),
]
CompareEpochsOption = Annotated[int, typer.Option(min=1, help="Epochs of that network.", rich_help_panel=BASELINES)]
DatasetOption = Annotated[
    str | None, typer.Option(help="Where the data set is.", show_default="the run's", rich_help_panel=DATA)
]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.", rich_help_panel=OUTPUT)]
CacheOption = Annotated[
    Path | None,
    typer.Option(help="Where what takes long is kept.", show_default="RUN/audit", rich_help_panel=OUTPUT),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the report as JSON.", rich_help_panel=OUTPUT)]


def audit(
    run: RunArgument,
    *,
    forget: ForgetOption,
    bundle: BundleOption = None,
    reference: ReferenceOption = None,
    references: ReferencesOption = None,
    shadows: ShadowsOption = None,
    margin: MarginOption = 0.1,
    limit: LimitOption = 300,
    seed: SeedOption = 0,
    compare: CompareOption = False,
    compare_epochs: CompareEpochsOption = 3,
    dataset: DatasetOption = None,
    data_root: DataRootOption = None,
    download: DownloadOption = True,
    max_pixels: MaxPixelsOption = None,
    model_name: ModelPlaceOption = None,
    device: TorchDeviceOption = "auto",
    precision: TorchPrecisionOption = "auto",
    out: OutOption = Path("report"),
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """Attack a model that has forgotten a class, and compare it with one that was trained without it.

    Three models meet the same attacks: before forgetting, after it, and the reference, which is trained here unless it
    is given. What counts is the distance between after and reference. Two trainings of one recipe differ by chance:
    with several references the nearest counts. Leaves report.html, for people, and report.json, whose digest
    `pfedge export --audit` puts into a bundle.

    The reference, what shadow models said, finished attacks and a bundle with all rows are kept in RUN/audit (--cache):
    an interrupted audit goes on, another class's is quicker. They tell of the class and hold its row: remove that
    folder when the class must go for good.

    \b
    pfedge audit runs/blood --forget 3
    pfedge audit runs/blood --forget 3 --reference runs/blood-without-3 --compare

    Exit code: 0 if nothing tells the model from one that never knew the class by significantly more than the margin
    (the report says what the data cannot rule out), 3 otherwise.
    """
    options = locals()
    with needs("train", "audit"):
        from rich.console import Console

        from pfedge.auditing.audit import PAGE, audit_run
        from pfedge.auditing.case import AuditSettings
        from pfedge.auditing.statistics import NOTHING_FOUND
        from pfedge.runs import Run
    settings = from_options(AuditSettings, options, reference=tuple(reference or ()))
    report = audit_run(Run.open(run), forget, settings, Console(stderr=True))
    if as_json:
        print_json("audit", report.to_json())
    else:
        Console(width=None if sys.stdout.isatty() else REDIRECTED_WIDTH).print(_table(report))
        for attack in report.attacks:
            for one in attack.skipped:
                say(f"not tested: {attack.title}, {one.name}: {one.reason}")
        say(f"report: {out / PAGE}")
        suggest("export", run, "--audit", out / "report.json", "--out bundle")
    if report.verdict not in NOTHING_FOUND:
        raise typer.Exit(STILL_TO_DO)


def _table(report: AuditReport) -> Table:
    """Return a line an attack: its verdict, and the measure that is furthest from the reference."""
    from rich.table import Table

    from pfedge.auditing.page import widest

    table = Table(title=f"forgetting {report.audited_class.name}: {report.verdict}")
    for heading in ("attack", "verdict", "furthest from the reference", "before", "after", "reference", "distance"):
        table.add_column(heading)
    for attack in report.attacks:
        most = widest(attack)
        cells = ["", "", "", "", ""]
        if most is not None:
            before = f"{most.before.value:.3f}" if most.before else ""
            values = [before, f"{most.after.value:.3f}", f"{most.reference.value:.3f}"]
            cells = [most.name, *values, f"{most.distance:+.3f} [{most.low:+.3f}, {most.high:+.3f}]"]
        table.add_row(attack.title, attack.verdict or "not judged", *cells)
    return table
