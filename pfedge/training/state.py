"""Where an interrupted training stands, and going on from there.

state = load_state(run, model, optimizer) if resume else TrainState()
save_state(run, model, optimizer, state)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from pfedge.errors import RunError
from pfedge.runs import EpochRecord, Run


class Trainable(Protocol):
    """A model that is trained by gradient."""

    def trained_state(self) -> dict[str, Tensor]:
        """Return what training changed, by name."""

    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `trained_state` returned."""


@dataclass(frozen=True)
class TrainState:
    """Where training stands.

    Attributes:
        epoch: the one under way, from 1.
        step: steps done in it.
        history: of the epochs so far; the one under way stands last once it has a step.
    """

    epoch: int = 1
    step: int = 0
    history: tuple[EpochRecord, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        history = [record.to_json() for record in self.history]
        return {"epoch": self.epoch, "step": self.step, "history": history}


def save_state(run: Run, model: Trainable, optimizer: torch.optim.Optimizer, state: TrainState) -> None:
    """Save all that `--resume` needs: what is trained, Adam's moments, and where training stands."""
    tensors = {f"model.{name}": tensor for name, tensor in model.trained_state().items()}
    for index, entry in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value.cpu() for key, value in entry.items()}
    run.save_progress(tensors, state=state.to_json())


def load_state(run: Run, model: Trainable, optimizer: torch.optim.Optimizer) -> TrainState:
    """Put a saved state back into the model and the optimizer.

    Raises:
        RunError: the file is damaged.
    """
    file = run.read_progress()
    try:
        trained = {name.removeprefix("model."): v for name, v in file.tensors.items() if name.startswith("model.")}
        model.load_trained_state(trained)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in file.tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".", 2)
                moments.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        saved = file.about["state"]
        return TrainState(saved["epoch"], saved["step"], tuple(EpochRecord(**record) for record in saved["history"]))
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        message = f"{file.path} is damaged: {error}"
        raise RunError(message) from error
