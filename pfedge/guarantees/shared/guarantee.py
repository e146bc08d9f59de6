"""Guarantee `shared` as the trainer's registry knows it."""

from __future__ import annotations

from typing import Any

import torch
from rich.console import Console
from torch import nn

from pfedge.backbone import Backbone
from pfedge.compute import computes_bf16
from pfedge.data import Pool
from pfedge.guarantees.guarantee import Guarantee
from pfedge.guarantees.rows import load_trained
from pfedge.guarantees.shared.config import SharedConfig
from pfedge.guarantees.shared.model import PromptBankModel
from pfedge.guarantees.shared.static import StaticPromptGraph
from pfedge.guarantees.shared.train import train_shared
from pfedge.guarantees.shared.white_box import SharedWhiteBox
from pfedge.runs import Metrics, Run, TrainConfig
from pfedge.training import TrainSettings


class Shared(Guarantee[PromptBankModel]):
    """Forgetting moves every other class's logits, and LoRA keeps what it learned of the class."""

    name = "shared"
    config = SharedConfig
    shadows = 0  # each takes half as long as the model did
    graph_is_trained = True
    prompt_modes = True

    def train(self, config: TrainConfig, settings: TrainSettings, console: Console) -> tuple[Run, Metrics]:
        """Train rows and LoRA; see `pfedge.guarantees.shared.train`."""
        return train_shared(config, settings, console)

    def load(self, run: Run, backbone: Backbone) -> PromptBankModel:
        """Put rows and LoRA on the backbone."""
        config = run.config
        model = PromptBankModel(backbone, class_ids=config.class_ids, tokens_per_class=config.train.tokens_per_class)
        return load_trained(run, model).eval()

    def static_graph(self, model: PromptBankModel) -> nn.Module:
        """Mask the tokens of rows that are gone, on the backbone whose LoRA has been merged."""
        return StaticPromptGraph(model.backbone).eval()

    def ready_to_attack(self, model: PromptBankModel, device: torch.device, autocast: torch.autocast) -> None:
        """Move it; on a CPU in bf16 its attention is spelled out, which is faster to go back through."""
        super().ready_to_attack(model, device, autocast)
        if computes_bf16(autocast) and device.type == "cpu":
            model.backbone.spell_out_attention()

    def white_box(
        self,
        model: PromptBankModel,
        pool: Pool,
        *,
        device: torch.device,
        autocast: torch.autocast,
        **_: Any,  # noqa: ANN401
    ) -> SharedWhiteBox:
        """Compute nothing yet: under LoRA each model makes something else of an input."""
        return SharedWhiteBox(model, pool, device, autocast)

    def shared_norms(self, model: PromptBankModel) -> list[dict[str, Any]]:
        """Return the norm of what LoRA adds to each weight, and its share of the weight's own."""
        found = []
        for name, module in model.backbone.attention_projections():
            added = module.get_delta_weight("default").detach()
            own = module.base_layer.weight.detach()
            norm = float(added.norm())
            found.append({"name": name, "norm": norm, "relative": norm / float(own.norm())})
        return found
