"""`pfedge import-reference`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.extras import needs
from pfedge.cli.options import DataRootOption
from pfedge.cli.output import print_json


def import_reference(
    ckpt: Annotated[Path, typer.Argument(help="A .pt checkpoint of the paper's published code.")],
    *,
    dataset: Annotated[str, typer.Option(help="The data set it was trained on.")] = "bloodmnist",
    model_name: Annotated[
        str, typer.Option(help="Its backbone: hub name or local folder.")
    ] = "google/vit-base-patch16-224",
    out: Annotated[
        Path | None, typer.Option(help="Run folder.", show_default="the checkpoint's path without its suffix")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed it was trained with.", show_default="in its name, or 42")
    ] = None,
    data_root: DataRootOption = None,
    size: Annotated[int | None, typer.Option(help="MedMNIST size: 28, 64, 128, 224.", show_default="fits")] = None,
    train_split: Annotated[
        str | None, typer.Option(help="Split it was trained on.", show_default="train; octmnist: val")
    ] = None,
    download: Annotated[bool, typer.Option(help="Fetch a missing MedMNIST file.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<i>.")] = "auto",
    gpu_id: Annotated[int, typer.Option(min=0, help="Which GPU --device auto takes, where there is one.")] = 0,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the run folder and its metrics as JSON.")] = False,
) -> None:
    """Turn a checkpoint of the paper's published code into a run, to be evaluated, exported and forgotten from.

    Its prompts, head and LoRA become rows and LoRA of guarantee shared. Its frozen weights must be those of
    --model-name, bit for bit. The optimizer's state is dropped: its moments remember rows. Only tensors are read; a
    file that holds pickled objects is refused. The data set gives class names, thresholds and the test accuracy.

    \b
    pfedge import-reference checkpoints/bloodmnist_seed_42_10.pt --dataset bloodmnist --out runs/blood
    pfedge export runs/blood
    """
    with needs("train", "import-reference"):
        from rich.console import Console

        from pfedge import import_reference as reference
    settings = reference.ImportSettings(
        dataset=dataset,
        model_name=model_name,
        seed=seed,
        data_root=data_root,
        size=size,
        train_split=train_split,
        download=download,
        device=device,
        gpu_id=gpu_id,
        precision=precision,
    )
    run, metrics = reference.import_reference(
        ckpt, settings, out or Path(str(ckpt).removesuffix(ckpt.suffix)), Console(stderr=True), overwrite=overwrite
    )
    if as_json:
        print_json({"run": str(run.folder), **metrics.to_json()})
    else:
        typer.echo(f"test accuracy, full bank: {metrics.test_accuracy:.3f}")
        typer.echo(f"run folder: {run.folder}")
