"""The trainer from Python: four functions, one for each verb.

    import pfedge

    run = pfedge.train("digits", model_name="builtin:micro", guarantee="exact", out="run")
    run.metrics.test_accuracy
    pfedge.evaluate(run, limit=100)
    bundle = pfedge.export(run, out="bundle")
    report = pfedge.audit(run, "3", out="report")

Keywords are the fields of `TrainConfig`, `TrainSettings`, `EvalSettings`, `ExportSettings` and `AuditSettings`. Nothing
is printed unless a `console` is given.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

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


def train(
    dataset: str | Path,
    *,
    out: str | Path,
    model_name: str | None = None,
    guarantee: str = "shared",
    console: Console = QUIET,
    **options: Any,  # noqa: ANN401 -- fields of two dataclasses, checked by name here and by value there
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
    recipe = {one.name for one in fields(TrainConfig)} & set(options)
    unknown = set(options) - recipe - {one.name for one in fields(TrainSettings)}
    if unknown:
        message = f"unknown options {', '.join(sorted(unknown))}: see TrainConfig and TrainSettings"
        raise UsageError(message)
    config = chosen.config(
        dataset=str(dataset),
        model_name=model_name or DEFAULT_BACKBONES[data_kind(str(dataset))],
        **{name: options.pop(name) for name in recipe},
    )
    settings = TrainSettings(out=Path(out), save_dir=Path(options.pop("save_dir", out)), **options)
    return chosen.train(config, settings, console)[0]


def evaluate(
    run: Run | str | Path,
    *,
    console: Console = QUIET,
    **options: Any,  # noqa: ANN401 -- of `EvalSettings`
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
    **options: Any,  # noqa: ANN401 -- of `ExportSettings`
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
    **options: Any,  # noqa: ANN401 -- of `AuditSettings`
) -> AuditReport:
    """Attack forgetting one class of a run, write the report and return it; see `AuditSettings` for options.

    Raises:
        PfedgeError: the class was never trained, or a part cannot be loaded.
    """
    return audit_run(Run.open(_path(run)), str(forget), AuditSettings(out=Path(out), **options), console)


def _path(run: Run | str | Path) -> Path:
    """Return where a run lies: its folder, or the checkpoint that was opened."""
    if isinstance(run, Run):
        return run.folder if run.model_file.name == MODEL else run.model_file
    return Path(run)
