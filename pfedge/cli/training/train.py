"""`pfedge train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.extras import needs
from pfedge.cli.options import DataRootOption, DataTypeOption, require_data_type
from pfedge.cli.output import print_json
from pfedge_runtime.errors import UsageError

# the options that are fields of a recipe, and of how it is carried out, as they stand
RECIPE = (
    "dataset", "tokens_per_class", "epochs", "batch_size", "lr", "seed", "image_size", "size", "train_split",
    "test_fold", "train_limit", "embedding_dim", "shrinkage", "source_column", "views",
)  # fmt: skip
SETTINGS = (
    "data_root", "download", "device", "gpu_id", "precision", "resume", "overwrite", "keep", "eval_every",
    "eval_limit", "eval_split", "cache",
)  # fmt: skip


def train(
    *,
    dataset: Annotated[
        str,
        typer.Option(
            help="A MedMNIST 2D set, cifar10, cifar100, esc10, esc50, urbansound8k, digits, the path of an .npz in "
            "MedMNIST's layout, or of a folder of images or sounds, root/{train,val,test}/<class>/* or <class>/*."
        ),
    ] = "bloodmnist",
    model_name: Annotated[
        str | None,
        typer.Option(
            help="Backbone: hub name, local folder, or builtin:micro (28 px, no download).",
            show_default="google/vit-base-patch16-224; for audio MIT/ast-finetuned-audioset-10-10-0.4593",
        ),
    ] = None,
    guarantee: Annotated[
        str,
        typer.Option(
            help="What forgetting promises. shared: the paper's method; LoRA, common to all classes, stays. "
            "isolated: rows do not see each other, and forgetting one moves no other's score. exact: rows are sums of "
            "each class's own embeddings; a bank without a class is byte for byte the one that never had it."
        ),
    ] = "shared",
    tokens_per_class: Annotated[int, typer.Option(min=1, help="Prompt tokens per row (T).")] = 1,
    epochs: Annotated[int, typer.Option(min=1)] = 10,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    lr: Annotated[
        float | None, typer.Option(min=0, help="Adam's learning rate.", show_default="1e-3; isolated: 1e-2, falling")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 42,
    out: Annotated[
        Path | None, typer.Option(help="Run folder.", show_default="<save-dir>/<dataset>_seed_<seed>")
    ] = None,
    save_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the epochs' checkpoints and accuracies.", show_default="checkpoints, or --out"),
    ] = None,
    data_root: DataRootOption = None,
    size: Annotated[int | None, typer.Option(help="MedMNIST size: 28, 64, 128, 224.", show_default="fits")] = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Side of the backbone's images in pixels.", show_default="its own")
    ] = None,
    train_split: Annotated[
        str, typer.Option(help="train or val (the reference trains octmnist on val: its train is large).")
    ] = "train",
    test_fold: Annotated[
        int | None, typer.Option(help="Fold to test on, for ESC and UrbanSound8K.", show_default="the last")
    ] = None,
    embedding_blocks: Annotated[
        str,
        typer.Option(
            help="isolated, exact: after which blocks CLS and mean token are taken, such as 6,8,10,12.",
            show_default="every second from the middle",
        ),
    ] = "",
    embedding_dim: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="isolated, exact: width E of the embedding (an exact row takes 4 E^2 bytes); 0: all.",
            show_default="isolated: all; exact: 768",
        ),
    ] = None,
    shrinkage: Annotated[
        float, typer.Option(min=0, max=1, help="exact: share of the identity in the covariance.")
    ] = 0.1,
    source_column: Annotated[
        str | None, typer.Option(help="exact: one row per class and value of this column (a clinic, say).")
    ] = None,
    add_to: Annotated[
        Path | None, typer.Option(help="exact: insert this data set's classes or sources into that run, as a new run.")
    ] = None,
    cache: Annotated[
        str, typer.Option(help="isolated: where keys and values are kept: auto, memory, disk or none.")
    ] = "auto",
    views: Annotated[
        int,
        typer.Option(min=1, help="isolated: views of each training image: itself, then random crops and mirrors."),
    ] = 1,
    exclude_class: Annotated[
        list[str] | None, typer.Option(help="Train as if this class (id or name) had never been; repeatable.")
    ] = None,
    train_limit: Annotated[int, typer.Option(min=0, help="At most so many training images; 0: all.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<i>.")] = "auto",
    gpu_id: Annotated[int, typer.Option(min=0, help="Which GPU --device auto takes, where there is one.")] = 0,
    precision: Annotated[str, typer.Option(help="auto (bf16 where it is faster), fp32 or bf16.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
    keep: Annotated[int, typer.Option(min=0, help="Epoch checkpoints to keep, the last ones; 0: all.")] = 3,
    eval_every: Annotated[int, typer.Option(min=1, help="Epochs between looks at every prompt mode.")] = 1,
    eval_limit: Annotated[int, typer.Option(min=0, help="Images of each such look; 0: all.")] = 200,
    eval_split: Annotated[str, typer.Option(help="Split of such looks: val or test.")] = "val",
    download: Annotated[bool, typer.Option(help="Fetch a missing MedMNIST file.")] = True,
    data_type: DataTypeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run folder and its metrics as JSON.")] = False,
) -> None:
    """Train a prompt-bank model: a frozen backbone and one removable row per class.

    Leaves a run folder with model.safetensors, config.json, metrics.json and plots, and per epoch a checkpoint
    and the accuracy in every prompt mode. Ctrl-C saves the state; --resume goes on.

    \b
    pfedge train --dataset digits --model-name builtin:micro --epochs 10
    pfedge train --dataset bloodmnist --data-root ~/medmnist --out runs/blood
    """
    asked = locals()  # typer has read them; each of the two dataclasses below takes its fields by name
    with needs("train", "train"):
        from rich.console import Console

        from pfedge.backbone import DEFAULT_BACKBONES
        from pfedge.data import data_kind
        from pfedge.guarantees import add_to as add
        from pfedge.guarantees import find_guarantee, guarantee_of
        from pfedge.guarantees import train as train_under
        from pfedge.runs import Run
        from pfedge.training import TrainSettings
    kind = require_data_type(data_type, data_kind(dataset), dataset)
    chosen = find_guarantee(guarantee) if add_to is None else guarantee_of(Run.open(add_to))
    config = chosen.config(
        **{name: asked[name] for name in RECIPE},
        model_name=model_name or DEFAULT_BACKBONES[kind],
        exclude=tuple(exclude_class or ()),
        embedding_blocks=_numbers(embedding_blocks),
    )
    checkpoints = save_dir or out or Path("checkpoints")
    settings = TrainSettings(
        **{name: asked[name] for name in SETTINGS},
        out=out or checkpoints / f"{Path(dataset).expanduser().resolve().stem}_seed_{seed}",
        save_dir=checkpoints,
    )
    console = Console(stderr=True)
    if add_to is None:
        run, metrics = train_under(config, settings, console)
    else:
        run, metrics = add(add_to, config, model_name, settings, console)
    if as_json:
        print_json({"run": str(run.folder), **metrics.to_json()})
    else:
        typer.echo(f"test accuracy, full bank: {metrics.test_accuracy:.3f}")
        typer.echo(f"run folder: {run.folder}")


def _numbers(text: str) -> tuple[int, ...]:
    """Return the numbers in `6,8,10`."""
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        message = f"--embedding-blocks takes numbers such as 6,8,10,12, not {text!r}"
        raise UsageError(message) from error
