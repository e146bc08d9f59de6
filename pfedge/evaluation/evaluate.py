"""`pfedge eval` of a run: open it, measure it, write what was found."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from rich.console import Console

from pfedge import import_reference as reference
from pfedge.data import Dataset
from pfedge.errors import DataError
from pfedge.evaluation.by_mode import Evaluation, evaluate_modes
from pfedge.evaluation.one_pass import OnePassEvaluation, evaluate_once
from pfedge.evaluation.settings import EvalSettings
from pfedge.guarantees import Model, guarantee_of, load_model
from pfedge.guarantees.shared import PromptBankModel
from pfedge.runs import Run
from pfedge_runtime.spelling import composed


def evaluate_run(path: Path, settings: EvalSettings, console: Console) -> Evaluation | OnePassEvaluation:
    """Evaluate a run or checkpoint, also one of the reference, on its test split and write what was found.

    Writes `<name>_inference_accuracies.json` in the reference's layout, `<name>_evaluation.json` with every
    subset and both ways of counting, and `<name>_forgetting.png`.

    Raises:
        PfedgeError: the run, its backbone or the data set cannot be used.
    """
    run, model, dataset = _open(path, settings, console)
    dataset.require_kind(model.backbone.preprocess, backbone=model.backbone.name)
    for note in dataset.notes:
        console.print(note, highlight=False, soft_wrap=True, markup=False)
    if [*map(composed, dataset.classes)] != [*map(composed, run.config.classes)]:
        message = f"{dataset.name} has classes {list(dataset.classes)}, the run has {list(run.config.classes)}"
        raise DataError(message)
    if guarantee_of(run).prompt_modes:
        return evaluate_modes(run, cast("PromptBankModel", model), dataset, settings, console)
    return evaluate_once(run, model, dataset, settings, console)


def _open(path: Path, settings: EvalSettings, console: Console) -> tuple[Run, Model, Dataset]:
    """Open a run, a checkpoint of one, or a checkpoint of the reference."""
    if path.suffix == reference.SUFFIX:
        own = path.with_suffix(".safetensors")
        if not path.exists() and own.exists():
            console.print(f"there is no {path}; evaluating {own} in its place", highlight=False, soft_wrap=True)
            path = own
        else:
            source = reference.ImportSettings(
                dataset=settings.dataset or reference.ImportSettings.dataset,
                model_name=settings.model_name or reference.ImportSettings.model_name,
                seed=settings.seed,
                data_root=settings.data_root,
                download=settings.download,
            )
            return reference.open_checkpoint(path, source)
    run = Run.open(path)
    model = load_model(run, settings.model_name)
    dataset = run.load_dataset(
        model.backbone.image_size,
        dataset=settings.dataset,
        data_root=settings.data_root,
        classes=settings.classes,
        download=settings.download,
    )
    return run, model, dataset
