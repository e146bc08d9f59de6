"""`pfedge train`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pfedge.cli.extras import needs
from pfedge.cli.options import ClassesOption, DataRootOption, DataTypeOption, MaxPixelsOption, require_data_type
from pfedge.cli.output import print_json, say, suggest
from pfedge.cli.panels import DATA, HARDWARE, MODEL, OUTPUT, TRAINING
from pfedge.cli.training.options import (
    DownloadOption,
    GpuOption,
    OverwriteOption,
    SizeOption,
    TorchDeviceOption,
    TrainedJsonOption,
    from_options,
)
from pfedge_runtime.errors import UsageError

if TYPE_CHECKING:
    from pfedge.runs import Metrics, Run, TrainConfig
    from pfedge.training import TrainSettings

Number = TypeVar("Number", int, float)

ISOLATED_EXACT = "Guarantees isolated and exact"
PROGRESS = "Progress"

DatasetOption = Annotated[
    str,
    typer.Option(
        help="A MedMNIST 2D set, cifar10, cifar100, esc10, esc50, urbansound8k, digits, the path of an .npz in "
        "MedMNIST's layout, or of a folder of images or sounds, root/{train,val,test}/<class>/* or <class>/*.",
        rich_help_panel=DATA,
    ),
]
TrainSplitOption = Annotated[
    str,
    typer.Option(help="train or val (the reference trains octmnist on val: its train is large).", rich_help_panel=DATA),
]
TestFoldOption = Annotated[
    int | None,
    typer.Option(help="Fold to test on, for ESC and UrbanSound8K.", show_default="the last", rich_help_panel=DATA),
]
ExcludeClassOption = Annotated[
    list[str] | None,
    typer.Option(help="Train as if this class (id or name) had never been; repeatable.", rich_help_panel=DATA),
]
TrainLimitOption = Annotated[
    int, typer.Option(min=0, help="At most so many training images; 0: all.", rich_help_panel=DATA)
]
ValLimitOption = Annotated[
    int, typer.Option(min=0, help="At most so many validation images; 0: all.", rich_help_panel=DATA)
]
TestLimitOption = Annotated[int, typer.Option(min=0, help="At most so many test images; 0: all.", rich_help_panel=DATA)]
SkipUnreadableOption = Annotated[
    bool,
    typer.Option(
        "--skip-unreadable",
        help="Train without files that cannot be read; the run lists them.",
        rich_help_panel=DATA,
    ),
]
MeanOption = Annotated[
    str,
    typer.Option(
        help="Of a backbone's images, 0 to 1, such as 0.5 or 0.485,0.456,0.406.",
        show_default="its preprocessor_config.json",
        rich_help_panel=MODEL,
    ),
]
StdOption = Annotated[
    str, typer.Option(help="Likewise their standard deviations.", show_default="likewise", rich_help_panel=MODEL)
]
InterpolationOption = Annotated[
    str,
    typer.Option(help="With --mean and --std: nearest, bilinear, bicubic or lanczos.", rich_help_panel=MODEL),
]
ModelNameOption = Annotated[
    str | None,
    typer.Option(
        help="Backbone: hub name, local folder, or builtin:micro (28 px, no download).",
        show_default="google/vit-base-patch16-224; for audio MIT/ast-finetuned-audioset-10-10-0.4593",
        rich_help_panel=MODEL,
    ),
]
GuaranteeOption = Annotated[
    str,
    typer.Option(
        help="What forgetting promises. shared: the paper's method; LoRA, common to all classes, stays. "
        "isolated: rows do not see each other, and forgetting one moves no other's score. exact: rows are sums of "
        "each class's own embeddings; a bank without a class is byte for byte the one that never had it.",
        rich_help_panel=MODEL,
    ),
]
TokensOption = Annotated[int, typer.Option(min=1, help="Prompt tokens per row (T).", rich_help_panel=MODEL)]
ImageSizeOption = Annotated[
    int | None,
    typer.Option(min=1, help="Side of the backbone's images in pixels.", show_default="its own", rich_help_panel=MODEL),
]
EpochsOption = Annotated[int, typer.Option(min=1, rich_help_panel=TRAINING)]
BatchSizeOption = Annotated[int, typer.Option(min=1, rich_help_panel=TRAINING)]
LearningRateOption = Annotated[
    float | None,
    typer.Option(
        min=0, help="Adam's learning rate.", show_default="1e-3; isolated: 1e-2, falling", rich_help_panel=TRAINING
    ),
]
SeedOption = Annotated[int, typer.Option(min=0, rich_help_panel=TRAINING)]
BlocksOption = Annotated[
    str,
    typer.Option(
        help="isolated, exact: after which blocks CLS and mean token are taken, such as 6,8,10,12.",
        show_default="every second from the middle",
        rich_help_panel=ISOLATED_EXACT,
    ),
]
EmbeddingDimOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="isolated, exact: width E of the embedding (an exact row takes 4 E^2 bytes); 0: all.",
        show_default="isolated: all; exact: 768",
        rich_help_panel=ISOLATED_EXACT,
    ),
]
ShrinkageOption = Annotated[
    float,
    typer.Option(min=0, max=1, help="exact: share of the identity in the covariance.", rich_help_panel=ISOLATED_EXACT),
]
SourceColumnOption = Annotated[
    str | None,
    typer.Option(
        help="exact: one row per class and value of this column (a clinic, say).", rich_help_panel=ISOLATED_EXACT
    ),
]
AddToOption = Annotated[
    Path | None,
    typer.Option(
        help="exact: insert this data set's classes or sources into that run, as a new run.",
        rich_help_panel=ISOLATED_EXACT,
    ),
]
CacheOption = Annotated[
    str,
    typer.Option(
        help="isolated: where keys and values are kept: auto, memory, disk or none.", rich_help_panel=ISOLATED_EXACT
    ),
]
ViewsOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="isolated: views of each training image: itself, then random crops and mirrors.",
        rich_help_panel=ISOLATED_EXACT,
    ),
]
PrecisionOption = Annotated[
    str, typer.Option(help="auto (bf16 where it is faster), fp32 or bf16.", rich_help_panel=HARDWARE)
]
EvalEveryOption = Annotated[
    int, typer.Option(min=1, help="Epochs between looks at every prompt mode.", rich_help_panel=PROGRESS)
]
EvalLimitOption = Annotated[
    int, typer.Option(min=0, help="Images of each such look; 0: all.", rich_help_panel=PROGRESS)
]
EvalSplitOption = Annotated[str, typer.Option(help="Split of such looks: val or test.", rich_help_panel=PROGRESS)]
KeepOption = Annotated[
    int, typer.Option(min=0, help="Epoch checkpoints to keep, the last ones; 0: all.", rich_help_panel=PROGRESS)
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with an interrupted run.", rich_help_panel=PROGRESS)
]
OutOption = Annotated[
    Path | None,
    typer.Option(help="Run folder.", show_default="<save-dir>/<dataset>_seed_<seed>", rich_help_panel=OUTPUT),
]
SaveDirOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the epochs' checkpoints and accuracies.",
        show_default="checkpoints, or --out",
        rich_help_panel=OUTPUT,
    ),
]


def train(
    *,
    dataset: DatasetOption = "bloodmnist",
    data_root: DataRootOption = None,
    size: SizeOption = None,
    train_split: TrainSplitOption = "train",
    test_fold: TestFoldOption = None,
    exclude_class: ExcludeClassOption = None,
    classes: ClassesOption = None,
    train_limit: TrainLimitOption = 0,
    val_limit: ValLimitOption = 0,
    test_limit: TestLimitOption = 0,
    skip_unreadable: SkipUnreadableOption = False,
    download: DownloadOption = True,
    max_pixels: MaxPixelsOption = None,
    data_type: DataTypeOption = None,
    model_name: ModelNameOption = None,
    guarantee: GuaranteeOption = "shared",
    tokens_per_class: TokensOption = 1,
    image_size: ImageSizeOption = None,
    mean: MeanOption = "",
    std: StdOption = "",
    interpolation: InterpolationOption = "bilinear",
    epochs: EpochsOption = 10,
    batch_size: BatchSizeOption = 32,
    lr: LearningRateOption = None,
    seed: SeedOption = 42,
    embedding_blocks: BlocksOption = "",
    embedding_dim: EmbeddingDimOption = None,
    shrinkage: ShrinkageOption = 0.1,
    source_column: SourceColumnOption = None,
    add_to: AddToOption = None,
    cache: CacheOption = "auto",
    views: ViewsOption = 1,
    device: TorchDeviceOption = "auto",
    gpu_id: GpuOption = 0,
    precision: PrecisionOption = "auto",
    eval_every: EvalEveryOption = 1,
    eval_limit: EvalLimitOption = 200,
    eval_split: EvalSplitOption = "val",
    keep: KeepOption = 3,
    resume: ResumeOption = False,
    out: OutOption = None,
    save_dir: SaveDirOption = None,
    overwrite: OverwriteOption = False,
    as_json: TrainedJsonOption = False,
) -> None:
    """Train a prompt-bank model: a frozen backbone and one removable row per class.

    Leaves a run folder with model.safetensors, config.json, metrics.json and plots, and per epoch a checkpoint
    and the accuracy in every prompt mode. Ctrl-C saves the state; --resume goes on.

    \b
    pfedge train --dataset digits --model-name builtin:micro --epochs 10
    pfedge train --dataset bloodmnist --data-root ~/medmnist --out runs/blood
    """
    options = locals()
    run, metrics = _train(options)
    if as_json:
        print_json("train", {"run": str(run.folder), **metrics.to_json()})
    else:
        say(metrics.describe())
        say(f"run folder: {run.folder}")
        suggest("export", run.folder, "--out bundle")


def _train(options: Mapping[str, Any]) -> tuple[Run, Metrics]:
    """Train, or add to a run."""
    with needs("train", "train"):
        from rich.console import Console

        from pfedge import guarantees
    console, config, settings = Console(stderr=True), _recipe(options), _settings(options)
    if options["add_to"] is None:
        return guarantees.train(config, settings, console)
    return guarantees.add_to(options["add_to"], config, options["model_name"], settings, console)


def _recipe(options: Mapping[str, Any]) -> TrainConfig:
    """Return what decides what is learned; with `--add-to` under the guarantee of that run."""
    from pfedge.backbone import DEFAULT_BACKBONES
    from pfedge.data import data_kind, read_classes
    from pfedge.guarantees import find_guarantee, guarantee_of
    from pfedge.runs import Run

    dataset, add_to = options["dataset"], options["add_to"]
    kind = require_data_type(options["data_type"], data_kind(dataset), dataset)
    guarantee = find_guarantee(options["guarantee"]) if add_to is None else guarantee_of(Run.open(add_to))
    return from_options(
        guarantee.config,
        options,
        model_name=options["model_name"] or DEFAULT_BACKBONES[kind],
        exclude=tuple(options["exclude_class"] or ()),
        embedding_blocks=tuple(_numbers(options["embedding_blocks"], int, "--embedding-blocks", "6,8,10,12")),
        classes=read_classes(options["classes"]) if options["classes"] else (),
        preprocessor=_preprocessor(options["mean"], options["std"], options["interpolation"]),
    )


def _preprocessor(mean: str, std: str, interpolation: str) -> dict[str, Any] | None:
    """Return what stands in for a backbone's `preprocessor_config.json`, where it is given."""
    from pfedge.backbone import plain_preprocessor

    if not mean and not std:
        return None
    if not mean or not std:
        message = "--mean and --std belong together"
        raise UsageError(message)
    example = "0.5 or 0.485,0.456,0.406"
    return plain_preprocessor(
        _numbers(mean, float, "--mean", example), _numbers(std, float, "--std", example), interpolation
    )


def _settings(options: Mapping[str, Any]) -> TrainSettings:
    """Return how the run is carried out, and where it goes."""
    from pfedge.training import TrainSettings

    name = f"{Path(options['dataset']).expanduser().resolve().stem}_seed_{options['seed']}"
    checkpoints = options["save_dir"] or options["out"] or Path("checkpoints")
    return from_options(TrainSettings, options, out=options["out"] or checkpoints / name, save_dir=checkpoints)


def _numbers(text: str, number: Callable[[str], Number], option: str, example: str) -> list[Number]:
    """Return the numbers in `6,8,10`.

    Raises:
        UsageError: something else stands there.
    """
    try:
        return [number(part) for part in text.split(",")] if text else []
    except ValueError as error:
        message = f"{option} takes numbers such as {example}, not {text!r}"
        raise UsageError(message) from error
