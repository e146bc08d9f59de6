"""The reference: the same recipe, trained without the class.

reference = retrained(run, class_id, cache, settings, console)
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from pfedge.errors import RunError
from pfedge.guarantees import train
from pfedge.runs import MODEL, RESUME, Run, TrainConfig
from pfedge.training import TrainSettings
from pfedge_runtime.bundle import class_text
from pfedge_runtime.files import canonical_json

FREE = {"dataset", "model_name", "exclude", "seed"}  # where things lie may differ, and a reference has its own chance


def retrained(
    run: Run,
    class_id: int,
    config: TrainConfig,
    data_digest: str,
    cache: Path,
    settings: TrainSettings,
    console: Console,
) -> Run:
    """Train the recipe of a run without one class, or open what was trained so before.

    Args:
        run: of any guarantee.
        class_id: the class to leave out.
        config: the run's recipe, with data set and backbone where they are now, and the reference's own seed.
        data_digest: of what is trained on: other data make another reference.
        cache: where references are kept.
        settings: data root, device, precision.
        console: where progress is shown.

    Raises:
        PfedgeError: it cannot be trained.
        TrainingInterruptedError: Ctrl-C; the next call goes on.
    """
    recipe: dict[str, Any] = {key: value for key, value in run.config.train.to_json().items() if key not in FREE}
    identity = {
        "recipe": {key: str(value) for key, value in recipe.items()} | {"seed": str(config.seed)},
        "classes": [other for other in run.config.class_ids if other != class_id],
        "backbone": run.config.backbone_digest,
        "data": data_digest,
    }
    folder = cache / f"reference-{hashlib.sha256(canonical_json(identity)).hexdigest()[:16]}"
    if (folder / MODEL).is_file():
        return Run.open(folder)
    without = replace(config, exclude=(*config.exclude, class_text(run.config.classes, class_id)))
    resume = (folder / RESUME).is_file()
    own = replace(settings, out=folder, save_dir=folder, resume=resume, overwrite=not resume, keep=1, eval_every=10**6)
    console.print(
        f"training a reference, without class {class_id}, seed {config.seed}, in {folder}",
        highlight=False,
        soft_wrap=True,
    )
    return train(without, own, console)[0]


def require_finished(run: Run) -> None:
    """Refuse a checkpoint of some epoch.

    Raises:
        RunError: it is one: a reference is trained for all epochs, and would differ by what the checkpoint lacks.
    """
    if run.model_file.name != MODEL:
        message = f"{run.model_file} is a checkpoint on the way: audit the finished run, {run.folder}"
        raise RunError(message)


def require_reference(run: Run, reference: Run, class_id: int) -> Run:
    """Return a run that was given as the reference.

    Raises:
        RunError: it is not of the same recipe without the class.
    """
    require_finished(reference)
    wanted = [other for other in run.config.class_ids if other != class_id]
    if list(reference.config.class_ids) != wanted:
        message = f"{reference.folder} has rows {list(reference.config.class_ids)}; the reference must have {wanted}"
        raise RunError(message)
    ours, theirs = run.config.train.to_json(), reference.config.train.to_json()
    differ = sorted(key for key in ours if key not in FREE and ours[key] != theirs[key])
    if run.config.backbone_digest != reference.config.backbone_digest:
        differ.append("backbone")
    if run.config.classes != reference.config.classes:
        differ.append("classes")
    if differ:
        message = f"{reference.folder} is no reference for {run.folder}: it differs in {', '.join(differ)}"
        raise RunError(message)
    return reference
