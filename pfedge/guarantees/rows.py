"""Rows that are trained by gradient, between a model's tensors, a bank and a run's file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pfedge.errors import RunError
from pfedge.runs import Run
from pfedge.training import Trainable
from pfedge_runtime.bank import PromptBank


class RowLabels:
    """Maps class ids to positions in the bank.

    >>> RowLabels([0, 2, 7]).positions(np.array([7, 0, 2])).tolist()
    [2, 0, 1]
    """

    def __init__(self, class_ids: Sequence[int]) -> None:
        self.class_ids = tuple(class_ids)
        self._position = torch.full((max(class_ids) + 1,), -1, dtype=torch.int64)
        self._position[list(class_ids)] = torch.arange(len(class_ids))

    def positions(self, labels: NDArray[np.int64]) -> Tensor:
        """Return int64 `[B]`; every label must have a row."""
        return self._position[torch.from_numpy(labels)]


def bank_of(
    class_ids: tuple[int, ...], prompts: Tensor, head_weight: Tensor, head_bias: Tensor, threshold: Tensor
) -> PromptBank:
    """Return trained rows as a bank."""

    def array(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
        return tensor.detach().float().cpu().numpy().copy()

    return PromptBank(
        class_ids=class_ids,
        prompts=array(prompts),
        head_weight=array(head_weight),
        head_bias=array(head_bias),
        threshold=array(threshold),
    )


def rows_state(bank: PromptBank) -> dict[str, Tensor]:
    """Return a bank's rows as tensors `rows.<class id>.<part>`, as in a bank file."""
    return {
        f"rows.{class_id}.{part}": torch.from_numpy(np.array(value))
        for class_id in bank.class_ids
        for part, value in bank.row(class_id).items()
    }


@torch.no_grad()
def load_rows(
    state: dict[str, Tensor],
    class_ids: tuple[int, ...],
    prompts: Tensor,
    head_weight: Tensor,
    head_bias: Tensor,
    threshold: Tensor,
) -> None:
    """Copy what `rows_state` gave into the tensors of a model.

    Raises:
        KeyError: a tensor is missing.
        RuntimeError: a tensor has another shape.
    """
    for position, class_id in enumerate(class_ids):
        prompts[position].copy_(state[f"rows.{class_id}.prompts"])
        head_weight[position].copy_(state[f"rows.{class_id}.head_weight"])
        head_bias[position].copy_(state[f"rows.{class_id}.head_bias"])
        threshold[position].copy_(state[f"rows.{class_id}.threshold"])


TrainableT = TypeVar("TrainableT", bound=Trainable)


def load_trained(run: Run, model: TrainableT) -> TrainableT:
    """Put what a run learned into a model that is new.

    Raises:
        RunError: the model file is damaged.
    """
    try:
        model.load_trained_state(run.read_model().tensors)
    except (KeyError, RuntimeError) as error:
        message = f"{run.model_file} does not fit its own configuration: {error}"
        raise RunError(message) from error
    return model
