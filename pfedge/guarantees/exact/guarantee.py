"""Guarantee `exact` as the trainer's registry knows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

from pfedge.backbone import Backbone
from pfedge.data import Dataset, Pool, Split
from pfedge.errors import RunError
from pfedge.guarantees.exact.config import ExactConfig
from pfedge.guarantees.exact.model import ExactModel, embed_split, load_exact
from pfedge.guarantees.exact.static import StaticExactGraph
from pfedge.guarantees.exact.train import add_rows, train_exact
from pfedge.guarantees.exact.white_box import ExactWhiteBox
from pfedge.guarantees.guarantee import Guarantee
from pfedge.guarantees.scores import Scores
from pfedge.runs import Metrics, Run, TrainConfig
from pfedge.training import TrainSettings


class Exact(Guarantee[ExactModel]):
    """After forgetting, the bank is byte for byte the one trained without the class."""

    name = "exact"
    config = ExactConfig
    references = 1  # statistics are summed: another seed gives the same
    shadows = 32
    shadows_take_seconds = True

    def train(self, config: TrainConfig, settings: TrainSettings, console: Console) -> tuple[Run, Metrics]:
        """Sum embeddings into rows; see `pfedge.guarantees.exact.train`."""
        return train_exact(config, settings, console)

    def add(
        self, run: Run, config: TrainConfig, model_name: str | None, settings: TrainSettings, console: Console
    ) -> tuple[Run, Metrics]:
        """Insert further rows: none depends on another."""
        return add_rows(run, config, model_name, settings, console)

    def load(self, run: Run, backbone: Backbone) -> ExactModel:
        """Read the statistics, and build the embedding that the run remembers."""
        return load_exact(run, backbone)

    def static_graph(self, model: ExactModel) -> nn.Module:
        """Mask rows' logits: a head is all there is."""
        return StaticExactGraph(model.deployable()).eval()

    def scores(self, model: ExactModel, split: Split, console: Console) -> Scores:
        """Embed all inputs once: the head of any bank is solved from its rows."""
        del console
        parts = [part for _, part in embed_split(model.embedding, split)]
        return Scores(model.bank(), np.concatenate(parts))

    def ready_to_attack(self, model: ExactModel, device: torch.device, autocast: torch.autocast) -> None:
        """Leave it on the CPU in float32: elsewhere other integers come out on the grid."""

    def white_box(self, model: ExactModel, pool: Pool, *, console: Console, **_: Any) -> ExactWhiteBox:  # noqa: ANN401
        """Embed the pool."""
        return ExactWhiteBox(model, pool, console)

    def require_own_data(self, run: Run, model: ExactModel, dataset: Dataset, *, source: str) -> None:
        """Compare how many inputs each row is the sum of."""
        counts = {class_id: row.count for class_id, row in model.bank().classes.items()}
        if counts != {c: int((dataset.train.labels == c).sum()) for c in counts}:
            message = (
                f"the rows of {run.folder} are not of the inputs of {source} alone (--add-to?): "
                "there is no reference for them to be compared with"
            )
            raise RunError(message)
