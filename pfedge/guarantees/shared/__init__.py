"""Guarantee `shared`, the paper's: rows and LoRA, trained together; LoRA stays when a row goes.

`train` reads like the paper, top to bottom; `prompting` says which rows a sample is shown; `model` is what is trained.

It may import what lies below `pfedge.guarantees`, and this room's own common parts; it knows no other guarantee.
"""

from pfedge.guarantees.shared.config import SharedConfig
from pfedge.guarantees.shared.guarantee import Shared
from pfedge.guarantees.shared.model import LORA_RANK, PromptBankModel, PromptGraph
from pfedge.guarantees.shared.modes import (
    accuracy_by_mode,
    calibrate,
    full_bank_logits,
    infer_best,
    predicted_classes,
    tokens_of,
)
from pfedge.guarantees.shared.prompting import MODES, Mode, choose_rows
from pfedge.guarantees.shared.train import shared_loss, train_shared

__all__ = [
    "LORA_RANK",
    "MODES",
    "Mode",
    "PromptBankModel",
    "PromptGraph",
    "Shared",
    "SharedConfig",
    "accuracy_by_mode",
    "calibrate",
    "choose_rows",
    "full_bank_logits",
    "infer_best",
    "predicted_classes",
    "shared_loss",
    "tokens_of",
    "train_shared",
]
