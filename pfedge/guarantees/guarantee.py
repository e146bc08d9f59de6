"""What a guarantee is to the trainer: everything that differs between `shared`, `isolated` and `exact`, in one place.

    guarantee = GUARANTEES[run.config.train.guarantee]
    model = guarantee.load(run, backbone)
    module, static = model.deployable(), guarantee.static_graph(model)

Nothing outside the registry compares a guarantee's name or asks of which class a model is. The runtime has the other
half: what banks there are, and what forgetting does not reach, in words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import torch
from rich.console import Console
from torch import nn

from pfedge.backbone import Backbone
from pfedge.data import Dataset, Pool, Split
from pfedge.errors import RunError
from pfedge.guarantees.scores import Scores
from pfedge.guarantees.white_box import WhiteBox
from pfedge.runs import Metrics, Run, TrainConfig
from pfedge.training import TrainSettings
from pfedge_runtime.bank import Bank


class Model(Protocol):
    """A trained model, of any guarantee."""

    @property
    def class_ids(self) -> tuple[int, ...]:
        """The class ids that have a row, increasing."""

    @property
    def backbone(self) -> Backbone:
        """The transformer that it stands on."""

    def bank(self) -> Bank:
        """Return the rows as a bank."""

    def trained_parameters(self) -> dict[str, int]:
        """Return how many trained numbers stand in `rows`, and how many are `shared`, out of `forget`'s reach."""

    def deployable(self) -> nn.Module:
        """Return the module that is exported, with the signature of DESIGN.md, section 4."""

    def to(self, device: torch.device) -> Self:
        """Move it to a device."""


ModelT = TypeVar("ModelT", bound=Model)


class Guarantee(ABC, Generic[ModelT]):
    """What forgetting promises, and all that follows from it for training, measuring, exporting and auditing.

    Attributes:
        name: what manifests, receipts and `--guarantee` call it.
        config: the class of its recipes, which refuses what has no meaning under it.
        references: how many models trained without the class an audit compares with by default.
        shadows: how many shadow models an audit trains by default.
        shadows_take_seconds: whether what shadow models say is not worth keeping.
        after_is_before: whether forgetting a class leaves what a model says of the others as it was.
        graph_is_trained: whether training changes the graph too, so that a reference has another one.
        prompt_modes: whether an input can be asked about under a choice of rows, and answers otherwise under each.
    """

    name: ClassVar[str]
    config: ClassVar[type[TrainConfig]]
    references: ClassVar[int] = 2
    shadows: ClassVar[int]
    shadows_take_seconds: ClassVar[bool] = False
    after_is_before: ClassVar[bool] = False
    graph_is_trained: ClassVar[bool] = False
    prompt_modes: ClassVar[bool] = False

    @abstractmethod
    def train(self, config: TrainConfig, settings: TrainSettings, console: Console) -> tuple[Run, Metrics]:
        """Train a model and write its run folder; return it and how training went.

        Raises:
            PfedgeError: the data set, backbone, device or run folder cannot be used.
            TrainingInterruptedError: Ctrl-C; the state is saved, and `settings.resume` continues from it.
        """

    def add(
        self, run: Run, config: TrainConfig, model_name: str | None, settings: TrainSettings, console: Console
    ) -> tuple[Run, Metrics]:
        """Insert the classes or sources of a data set into a finished run, as a new run.

        Raises:
            RunError: a row of this guarantee depends on what other rows there are.
        """
        del config, model_name, settings, console
        message = f"{run.folder} is of guarantee {self.name}: rows can be added to exact runs only"
        raise RunError(message)

    @abstractmethod
    def load(self, run: Run, backbone: Backbone) -> ModelT:
        """Put what a run learned on its backbone.

        Raises:
            RunError: the model file is damaged.
        """

    @abstractmethod
    def static_graph(self, model: ModelT) -> nn.Module:
        """Return the module to export with fixed shapes, of a model whose `deployable` was called before."""

    def scores(self, model: ModelT, split: Split, console: Console) -> Scores:
        """Return what the graph says of a split under any smaller bank, from one pass.

        Raises:
            NotImplementedError: each bank needs a pass of its own, as where there are prompt modes.
        """
        raise NotImplementedError

    def ready_to_attack(self, model: ModelT, device: torch.device, autocast: torch.autocast) -> None:
        """Move a model to where it is attacked, and make it compute fast there."""
        del autocast
        model.to(device)

    @abstractmethod
    def white_box(
        self,
        model: ModelT,
        pool: Pool,
        *,
        device: torch.device,
        autocast: torch.autocast,
        folder: Path,
        console: Console,
    ) -> WhiteBox[ModelT]:
        """Return what an attacker computes once of a pool of inputs.

        Args:
            model: gives backbone and embedding.
            pool: the inputs.
            device: where torch computes.
            autocast: in which precision.
            folder: where what does not fit in memory may lie.
            console: where progress is shown.
        """

    def shared_norms(self, model: ModelT) -> list[dict[str, Any]]:
        """Return name, norm and relative norm of each change of a weight that `forget` cannot reach."""
        del model
        return []

    def require_own_data(self, run: Run, model: ModelT, dataset: Dataset, *, source: str) -> None:
        """Check, where that can be told, that a run was trained on a data set and on nothing else.

        Args:
            run: the run.
            model: what it trained.
            dataset: the data set.
            source: its name or path, for people.

        Raises:
            RunError: it was trained on other inputs.
        """
