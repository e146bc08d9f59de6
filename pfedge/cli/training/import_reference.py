"""`pfedge import-reference`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.extras import needs
from pfedge.cli.options import DataRootOption, MaxPixelsOption
from pfedge.cli.output import print_json, say, suggest
from pfedge.cli.panels import DATA, MODEL, OUTPUT, TRAINING
from pfedge.cli.training.options import (
    DownloadOption,
    GpuOption,
    OverwriteOption,
    SizeOption,
    TorchDeviceOption,
    TorchPrecisionOption,
    TrainedJsonOption,
    from_options,
)

CkptArgument = Annotated[Path, typer.Argument(help="A .pt checkpoint of the paper's published code.")]
DatasetOption = Annotated[str, typer.Option(help="The data set it was trained on.", rich_help_panel=DATA)]
TrainSplitOption = Annotated[
    str | None,
    typer.Option(help="Split it was trained on.", show_default="train; octmnist: val", rich_help_panel=DATA),
]
ModelNameOption = Annotated[str, typer.Option(help="Its backbone: hub name or local folder.", rich_help_panel=MODEL)]
SeedOption = Annotated[
    int | None,
    typer.Option(help="Seed it was trained with.", show_default="in its name, or 42", rich_help_panel=TRAINING),
]
OutOption = Annotated[
    Path | None,
    typer.Option(help="Run folder.", show_default="the checkpoint's path without its suffix", rich_help_panel=OUTPUT),
]


def import_reference(
    ckpt: CkptArgument,
    *,
    dataset: DatasetOption = "bloodmnist",
    data_root: DataRootOption = None,
    size: SizeOption = None,
    train_split: TrainSplitOption = None,
    download: DownloadOption = True,
    max_pixels: MaxPixelsOption = None,
    model_name: ModelNameOption = "google/vit-base-patch16-224",
    seed: SeedOption = None,
    device: TorchDeviceOption = "auto",
    gpu_id: GpuOption = 0,
    precision: TorchPrecisionOption = "auto",
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    as_json: TrainedJsonOption = False,
) -> None:
    """Turn a checkpoint of the paper's published code into a run, to be evaluated, exported and forgotten from.

    Its prompts, head and LoRA become rows and LoRA of guarantee shared. Its frozen weights must be those of
    --model-name, bit for bit. The optimizer's state is dropped: its moments remember rows. Only tensors are read; a
    file that holds pickled objects is refused. The data set gives class names, thresholds and the test accuracy.

    \b
    pfedge import-reference checkpoints/bloodmnist_seed_42_10.pt --dataset bloodmnist --out runs/blood
    pfedge export runs/blood
    """
    options = locals()
    with needs("train", "import-reference"):
        from rich.console import Console

        from pfedge import import_reference as reference
    settings = from_options(reference.ImportSettings, options)
    folder = out or Path(str(ckpt).removesuffix(ckpt.suffix))
    run, metrics = reference.import_reference(ckpt, settings, folder, Console(stderr=True), overwrite=overwrite)
    if as_json:
        print_json("import-reference", {"run": str(run.folder), **metrics.to_json()})
    else:
        say(metrics.describe())
        say(f"run folder: {run.folder}")
        suggest("eval", run.folder)
