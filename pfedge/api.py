"""The trainer from Python: four functions, one for each verb.

    import pfedge

    run = pfedge.train("digits", model_name="builtin:micro", guarantee="exact", out="run")
    run.metrics.test_accuracy
    pfedge.evaluate(run, limit=100)
    bundle = pfedge.export(run, out="bundle")
    report = pfedge.audit(run, "3", out="report")

Keywords are the fields of `TrainConfig`, `TrainSettings`, `EvalSettings`, `ExportSettings` and `AuditSettings`, which
say what each means; `TrainOptions` and the like list them once more, for editors and type checkers. Nothing is printed
unless a `console` is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypedDict, Unpack

from rich.console import Console

from pfedge.auditing.audit import audit_run
from pfedge.auditing.case import AuditSettings
from pfedge.auditing.report import AuditReport
from pfedge.backbone import DEFAULT_BACKBONES
from pfedge.data import data_kind
from pfedge.evaluation import EvalSettings, Evaluation, OnePassEvaluation, evaluate_run
from pfedge.exporting import ExportSettings, export_run
from pfedge.guarantees import find_guarantee
from pfedge.runs import MODEL, Run, TrainConfig
from pfedge.training import TrainSettings
from pfedge_runtime.bundle import Bundle
from pfedge_runtime.errors import UsageError
from pfedge_runtime.signing import PrivateKey

__all__ = [
    "AuditSettings",
    "EvalSettings",
    "ExportSettings",
    "Run",
    "TrainConfig",
    "TrainSettings",
    "audit",
    "evaluate",
    "export",
    "train",
]

QUIET = Console(quiet=True)


class TrainOptions(TypedDict, total=False):
    """Keywords of `train`: fields of `TrainConfig`, then of `TrainSettings`."""

    tokens_per_class: int
    epochs: int
    batch_size: int
    lr: float | None
    seed: int
    image_size: int | None
    size: int | None
    train_split: str
    test_fold: int | None
    exclude: tuple[str, ...]
    train_limit: int
    val_limit: int
    test_limit: int
    classes: tuple[str, ...]
    preprocessor: dict[str, Any] | None
    embedding_blocks: tuple[int, ...]
    embedding_dim: int | None
    shrinkage: float
    source_column: str | None
    views: int
    save_dir: Path
    data_root: Path | None
    download: bool
    device: str
    gpu_id: int
    precision: str
    resume: bool
    overwrite: bool
    keep: int
    eval_every: int
    eval_limit: int
    eval_split: str
    cache: str
    skip_unreadable: bool


class EvalOptions(TypedDict, total=False):
    """Keywords of `evaluate`: fields of `EvalSettings`."""

    dataset: str | None
    model_name: str | None
    data_root: Path | None
    save_dir: Path | None
    classes: tuple[str, ...]
    limit: int
    max_subsets: int
    sizes: tuple[int, ...]
    modes: bool
    forgetting: bool
    seed: int | None
    device: str
    gpu_id: int
    precision: str
    batch_size: int
    download: bool


class ExportOptions(TypedDict, total=False):
    """Keywords of `export`: fields of `ExportSettings`."""

    opset: int
    parity_inputs: int
    tolerance: float | None
    dataset: str | None
    data_root: Path | None
    download: bool
    model_name: str | None
    precision: str
    quantization: str
    max_drop: float
    static_batch: int
    keys_out: Path | None
    signer: PrivateKey | None
    audits: tuple[Path, ...]


class AuditOptions(TypedDict, total=False):
    """Keywords of `audit`: fields of `AuditSettings`."""

    bundle: Path | None
    reference: tuple[Path, ...]
    references: int | None
    cache: Path | None
    margin: float
    shadows: int | None
    limit: int
    seed: int
    compare: bool
    compare_epochs: int
    dataset: str | None
    model_name: str | None
    data_root: Path | None
    download: bool
    device: str
    precision: str


def train(
    dataset: str | Path,
    *,
    out: str | Path,
    model_name: str | None = None,
    guarantee: str = "shared",
    console: Console = QUIET,
    **options: Unpack[TrainOptions],
) -> Run:
    """Train one removable row per class, and return the run; `run.metrics` says how it went.

    Args:
        dataset: a data set's name or path.
        out: the run folder; checkpoints go there too, unless `save_dir` is given.
        model_name: the backbone; None is the default for what the data set holds.
        guarantee: `shared`, `isolated` or `exact`.
        console: where progress is shown.
        options: further fields of `TrainConfig` and `TrainSettings`.

    Raises:
        UsageError: there is no such guarantee or option, or one has no meaning under the guarantee.
        PfedgeError: the data set, backbone, device or run folder cannot be used.
    """
    chosen = find_guarantee(guarantee)
    recipe, settings = _among(TrainConfig, options), _among(TrainSettings, options)
    if unknown := set(options) - set(recipe) - set(settings):
        message = f"unknown options {', '.join(sorted(unknown))}: see TrainConfig and TrainSettings"
        raise UsageError(message)
    config = chosen.config(
        dataset=str(dataset),
        model_name=model_name or DEFAULT_BACKBONES[data_kind(str(dataset))],
        **recipe,
    )
    return chosen.train(config, TrainSettings(out=Path(out), **{"save_dir": Path(out), **settings}), console)[0]


def evaluate(
    run: Run | str | Path,
    *,
    console: Console = QUIET,
    **options: Unpack[EvalOptions],
) -> Evaluation | OnePassEvaluation:
    """Measure a run: accuracy, and what forgetting every subset of classes does; see `EvalSettings` for options.

    Raises:
        PfedgeError: the run, its backbone or the data set cannot be used.
    """
    return evaluate_run(_path(run), EvalSettings(**options), console)


def export(
    run: Run | str | Path,
    *,
    out: str | Path,
    console: Console = QUIET,
    **options: Unpack[ExportOptions],
) -> Bundle:
    """Export a run as a bundle for devices; see `ExportSettings` for options.

    Raises:
        PfedgeError: the run, its backbone, the data set or the destination cannot be used, or parity fails.
    """
    return export_run(Run.open(_path(run)), ExportSettings(out=Path(out), **options), on_progress=console.print)[0]


def audit(
    run: Run | str | Path,
    forget: str | int,
    *,
    out: str | Path,
    console: Console = QUIET,
    **options: Unpack[AuditOptions],
) -> AuditReport:
    """Attack forgetting one class of a run, write the report and return it; see `AuditSettings` for options.

    Raises:
        PfedgeError: the class was never trained, or a part cannot be loaded.
    """
    return audit_run(Run.open(_path(run)), str(forget), AuditSettings(out=Path(out), **options), console)


def _among(kind: type[TrainConfig | TrainSettings], options: Mapping[str, object]) -> dict[str, Any]:
    """Return the options that are fields of a class."""
    return {one.name: options[one.name] for one in fields(kind) if one.name in options}


def _path(run: Run | str | Path) -> Path:
    """Return where a run lies: its folder, or the checkpoint that was opened."""
    if isinstance(run, Run):
        return run.folder if run.model_file.name == MODEL else run.model_file
    return Path(run)
