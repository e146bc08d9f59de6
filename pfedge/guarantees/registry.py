"""The guarantees that there are. A further one is a folder beside these and a line here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from pfedge.guarantees.exact import Exact
from pfedge.guarantees.guarantee import Guarantee, Model
from pfedge.guarantees.isolated import Isolated
from pfedge.guarantees.loading import backbone_of
from pfedge.guarantees.shared import Shared
from pfedge.runs import Metrics, Run, TrainConfig
from pfedge.training import TrainSettings
from pfedge_runtime.errors import UsageError

# the models of one guarantee never meet another's methods: each is found by the name that its run remembers
GUARANTEES: dict[str, Guarantee[Any]] = {guarantee.name: guarantee for guarantee in (Shared(), Isolated(), Exact())}


def find_guarantee(name: str) -> Guarantee[Any]:
    """Return the guarantee of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in GUARANTEES:
        *first, last = GUARANTEES
        message = f"unknown guarantee {name!r}: choose {', '.join(first)} or {last}"
        raise UsageError(message)
    return GUARANTEES[name]


def guarantee_of(run: Run) -> Guarantee[Any]:
    """Return the guarantee that a run was trained under."""
    return find_guarantee(run.config.train.guarantee)


def train(config: TrainConfig, settings: TrainSettings, console: Console) -> tuple[Run, Metrics]:
    """Train a model and write its run folder; see `Guarantee.train`."""
    return find_guarantee(config.guarantee).train(config, settings, console)


def add_to(
    path: Path, config: TrainConfig, model_name: str | None, settings: TrainSettings, console: Console
) -> tuple[Run, Metrics]:
    """Insert the classes or sources of a data set into a finished run, as a new run; see `Guarantee.add`."""
    run = Run.open(path)
    return guarantee_of(run).add(run, config, model_name, settings, console)


def load_model(run: Run, model_name: str | None = None) -> Model:
    """Load the backbone, check that it is the one trained on, and put the rows and LoRA in.

    Args:
        run: the run.
        model_name: where the backbone is now, if not where it was in training.

    Raises:
        BackboneError: the backbone cannot be loaded, or its weights are not those of training.
        RunError: the model file is damaged.
    """
    model: Model = guarantee_of(run).load(run, backbone_of(run, model_name))
    return model
