"""`pfedge eval`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pfedge.cli.extras import needs
from pfedge.cli.options import ClassesOption, DataRootOption, DataTypeOption, MaxPixelsOption, require_data_type
from pfedge.cli.output import print_json, say, suggest
from pfedge.cli.panels import DATA, HARDWARE, OUTPUT
from pfedge.cli.recovery import finish_decided
from pfedge.cli.training.options import (
    DownloadOption,
    GpuOption,
    ModelPlaceOption,
    TorchDeviceOption,
    TorchPrecisionOption,
    from_options,
)
from pfedge_runtime.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from pfedge.evaluation import BundleEvaluation, EvalSettings

REDIRECTED_WIDTH = 160  # in a file or a pipe no column is too many
MEASUREMENT = "Measurement"

RunArgument = Annotated[
    Path | None,
    typer.Argument(help="A run folder, a checkpoint (also one of the reference), or a bundle.", show_default=False),
]
CkptOption = Annotated[Path | None, typer.Option(help="The same, in the reference's spelling.", rich_help_panel=DATA)]
DatasetOption = Annotated[
    str | None, typer.Option(help="Data set to test on.", show_default="the run's", rich_help_panel=DATA)
]
LimitOption = Annotated[int, typer.Option(min=0, help="At most so many test images; 0: all.", rich_help_panel=DATA)]
ModesOption = Annotated[bool, typer.Option(help="Measure accuracy in every prompt mode.", rich_help_panel=MEASUREMENT)]
ForgettingOption = Annotated[bool, typer.Option(help="Measure forgetting.", rich_help_panel=MEASUREMENT)]
SizesOption = Annotated[
    list[int] | None,
    typer.Option(
        help="How many classes to forget; repeatable.", show_default="1, K/2, K-1", rich_help_panel=MEASUREMENT
    ),
]
MaxSubsetsOption = Annotated[
    int,
    typer.Option(
        min=0,
        help="Above so many subsets of a size, a random sample of them; 0: never.",
        rich_help_panel=MEASUREMENT,
    ),
]
SeedOption = Annotated[
    int | None, typer.Option(help="Of random subsets.", show_default="the run's", rich_help_panel=MEASUREMENT)
]
BatchSizeOption = Annotated[int, typer.Option(min=1, rich_help_panel=HARDWARE)]
SaveDirOption = Annotated[
    Path | None, typer.Option(help="Where results go.", show_default="beside the run", rich_help_panel=OUTPUT)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print everything as JSON.", rich_help_panel=OUTPUT)]


def evaluate(
    run: RunArgument = None,
    *,
    ckpt: CkptOption = None,
    dataset: DatasetOption = None,
    classes: ClassesOption = None,
    data_root: DataRootOption = None,
    limit: LimitOption = 0,
    download: DownloadOption = True,
    max_pixels: MaxPixelsOption = None,
    data_type: DataTypeOption = None,
    model_name: ModelPlaceOption = None,
    modes: ModesOption = True,
    forgetting: ForgettingOption = True,
    k: SizesOption = None,
    max_subsets: MaxSubsetsOption = 1000,
    seed: SeedOption = None,
    device: TorchDeviceOption = "auto",
    gpu_id: GpuOption = 0,
    precision: TorchPrecisionOption = "auto",
    batch_size: BatchSizeOption = 32,
    save_dir: SaveDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure accuracy in every prompt mode, and what forgetting does to every subset of classes.

    Forgetting is counted in two ways: "prompt dropped only" is the paper's (the head still has all K outputs),
    "row dropped" is what `pfedge forget` does (the class has no output left).

    Of an isolated or exact run every subset of every size (or of --k) is evaluated from one pass, and what is
    abstained on. It has no prompt modes.

    A bundle is measured as it is deployed, with the rows that its bank still has: accuracy, abstention, and what
    inputs of forgotten classes are called. Give --dataset then.
    """
    options = locals()
    chosen = run or ckpt
    if chosen is None or (run and ckpt):
        message = "give one run folder or checkpoint: pfedge eval RUN"
        raise UsageError(message)
    with needs("train", "eval"):
        from rich.console import Console

        from pfedge.data import data_kind, read_classes
        from pfedge.evaluation import EvalSettings, evaluate_run
    if dataset:
        require_data_type(data_type, data_kind(dataset), dataset)
    listed = read_classes(classes) if classes else ()
    settings = from_options(EvalSettings, options, sizes=tuple(k or ()), classes=listed)
    console = Console(stderr=True)
    deployed = (chosen / "manifest.json").is_file()
    outcome = _evaluate_bundle(chosen, settings, console) if deployed else evaluate_run(chosen, settings, console)
    if as_json and deployed:
        print_json("eval-bundle", outcome.to_json())
    elif as_json:
        print_json("eval", outcome.to_json())
    else:
        outcome.show(Console(width=None if sys.stdout.isatty() else REDIRECTED_WIDTH))
        suggest(*(("bench", chosen) if deployed else ("export", chosen, "--out bundle")))


def _evaluate_bundle(path: Path, settings: EvalSettings, console: Console) -> BundleEvaluation:
    """Measure a bundle as it is deployed.

    Raises:
        UsageError: no data set is given.
    """
    if settings.dataset is None:
        message = "a bundle does not say where its test data are: give --dataset"
        raise UsageError(message)
    finish_decided(path)
    from pfedge.data import load_dataset, require_same
    from pfedge.evaluation import evaluate_bundle
    from pfedge_runtime.classifier import Classifier

    device = "cpu" if settings.device == "auto" else settings.device
    classifier = Classifier.open(path, device=device, batch_size=settings.batch_size)
    side = getattr(classifier.bundle.manifest.preprocess, "height", None)
    data = load_dataset(
        settings.dataset,
        image_size=side,
        data_root=settings.data_root,
        classes=settings.classes,
        download=settings.download,
    )
    require_same([entry.name for entry in classifier.bundle.manifest.classes], data.classes, name=data.name)
    for note in data.notes:
        say(note, err=True)
    return evaluate_bundle(classifier, data, console, limit=settings.limit)
