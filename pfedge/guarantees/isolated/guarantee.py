"""Guarantee `isolated` as the trainer's registry knows it."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from pfedge.backbone import Backbone, load_embedding
from pfedge.data import Pool, Split
from pfedge.guarantees.guarantee import Guarantee
from pfedge.guarantees.isolated.config import IsolatedConfig
from pfedge.guarantees.isolated.model import IsolatedModel
from pfedge.guarantees.isolated.static import StaticIsolatedGraph
from pfedge.guarantees.isolated.train import isolated_logits, train_isolated
from pfedge.guarantees.isolated.white_box import IsolatedWhiteBox
from pfedge.guarantees.rows import load_trained
from pfedge.guarantees.scores import IndependentScores
from pfedge.runs import Metrics, Run, TrainConfig
from pfedge.training import TrainSettings


class Isolated(Guarantee[IsolatedModel]):
    """Forgetting moves no retained logit; other rows have used the class as a negative."""

    name = "isolated"
    config = IsolatedConfig
    shadows = 8
    after_is_before = True

    def train(self, config: TrainConfig, settings: TrainSettings, console: Console) -> tuple[Run, Metrics]:
        """Train rows alone; see `pfedge.guarantees.isolated.train`."""
        return train_isolated(config, settings, console)

    def load(self, run: Run, backbone: Backbone) -> IsolatedModel:
        """Put rows on the backbone, beside the embedding that the run remembers."""
        config = run.config
        spec = load_embedding(backbone, config.require_embedding()).spec
        model = IsolatedModel(
            backbone, class_ids=config.class_ids, tokens_per_class=config.train.tokens_per_class, spec=spec
        )
        return load_trained(run, model).eval()

    def static_graph(self, model: IsolatedModel) -> nn.Module:
        """Mask rows' logits: rows do not see each other anyway."""
        return StaticIsolatedGraph(model.deployable()).eval()

    def scores(self, model: IsolatedModel, split: Split, console: Console) -> IndependentScores:
        """Score all rows once: those of a smaller bank are among them."""
        return IndependentScores(model.bank(), isolated_logits(model, split, console))

    def white_box(
        self,
        model: IsolatedModel,
        pool: Pool,
        *,
        device: torch.device,
        autocast: torch.autocast,
        folder: Path,
        console: Console,
    ) -> IsolatedWhiteBox:
        """Compute keys and values of the pool."""
        del device  # the model is there
        return IsolatedWhiteBox(model, pool, autocast, folder, console)
