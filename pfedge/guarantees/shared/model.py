"""The prompt-bank model: a frozen transformer and one removable row per class (arXiv 2509.15230).

    model = PromptBankModel(load_backbone(), class_ids=range(8), tokens_per_class=1)
    logits = model(inputs, rows)          # images uint8 [B, H, W, 3], int64 [B, n] or None -> float32 [B, R]

A row is the class's prompt tokens `[T, D]`, its head vector `[D]` and its bias. The rows given for a sample
are prepended to its image (or sound) tokens, and the head reads CLS behind them. Guarantee `shared` also adapts the
query and value projections by LoRA (arXiv 2106.09685), which every class shares.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pfedge.backbone import Backbone
from pfedge.guarantees.rows import bank_of, load_rows, rows_state
from pfedge_runtime.bank import PromptBank

LORA_RANK = 4
LORA_ALPHA = 4
LORA_DROPOUT = 0.1


class PromptBankModel(nn.Module):
    """Guarantee `shared`: rows and LoRA, trained together.

    Attributes:
        class_ids: the class id of each row, increasing.
        prompts: `[R, T, D]`, drawn from the standard normal distribution.
        head: the linear head, one output per row.
        threshold: `[R]`, the acceptance thresholds, set by calibration after training.
    """

    threshold: Tensor

    def __init__(self, backbone: Backbone, *, class_ids: Iterable[int], tokens_per_class: int = 1) -> None:
        """Wrap the backbone's query and value projections with LoRA and draw the rows."""
        super().__init__()
        from peft import LoraConfig, get_peft_model

        self.class_ids = tuple(sorted(class_ids))
        rows = len(self.class_ids)
        names = sorted({path.rpartition(".")[2] for path in _query_value_paths(backbone.vit)})
        config = LoraConfig(
            r=LORA_RANK, lora_alpha=LORA_ALPHA, lora_dropout=LORA_DROPOUT, bias="none", target_modules=names
        )
        self.backbone = backbone
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for a name that is going away
            self._adapted: Any = [get_peft_model(backbone.vit, config)]  # in a list: its weights are the backbone's
        self.prompts = nn.Parameter(torch.randn(rows, tokens_per_class, backbone.width))
        self.head = nn.Linear(backbone.width, rows)
        self.register_buffer("threshold", torch.full((rows,), -torch.inf))

    def forward(self, inputs: Tensor, rows: Tensor | None) -> Tensor:
        """Return logits `[B, R]` of images `[B, H, W, 3]` or features under bank positions `[B, n]` (None: no rows)."""
        return self.score(self.backbone.embed(inputs), rows)

    def score(self, tokens: Tensor, rows: Tensor | None) -> Tensor:
        """Return logits `[B, R]` of embedded inputs `[B, 1 + N, D]` under bank positions `[B, n]`."""
        if rows is None:
            bare: Tensor = self.head(self.backbone.encode(tokens)[:, 0])
            return bare
        prompts = self.prompts[rows.to(self.prompts.device)].flatten(1, 2)
        hidden = self.backbone.encode(torch.cat([prompts, tokens], dim=1))
        logits: Tensor = self.head(hidden[:, prompts.shape[1]])
        return logits

    def bank(self) -> PromptBank:
        """Return the rows as a bank."""
        return bank_of(self.class_ids, self.prompts, self.head.weight, self.head.bias, self.threshold)

    def trained_state(self) -> dict[str, Tensor]:
        """Return what training changed, under names that no library version alters.

        `rows.<class id>.<part>` as in a bank file, and `lora.<block>.<query|value>.<A|B>`, A `[r, D]`, B `[D, r]`.
        """
        state = rows_state(self.bank())
        for name, parameter in self._lora_parameters():
            state[name] = parameter.detach().float().cpu().clone()
        return state

    @torch.no_grad()
    def load_trained_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `trained_state` returned.

        Raises:
            KeyError: a tensor is missing.
            RuntimeError: a tensor has another shape.
        """
        load_rows(state, self.class_ids, self.prompts, self.head.weight, self.head.bias, self.threshold)
        for name, parameter in self._lora_parameters():
            parameter.copy_(state[name])

    def trained_parameters(self) -> dict[str, int]:
        """Return how many trained numbers stand in rows, and how many in LoRA, out of `forget`'s reach."""
        rows = self.prompts.numel() + self.head.weight.numel() + self.head.bias.numel()
        return {"rows": rows, "shared": sum(parameter.numel() for _, parameter in self._lora_parameters())}

    def _lora_parameters(self) -> list[tuple[str, nn.Parameter]]:
        found = []
        for name, module in self.backbone.attention_projections():
            if hasattr(module, "lora_A"):
                found += [(f"lora.{name}.A", module.lora_A["default"].weight)]
                found += [(f"lora.{name}.B", module.lora_B["default"].weight)]
        return found

    def deployable(self) -> PromptGraph:
        """Merge LoRA into the frozen weights, irrevocably, and return the module that is exported."""
        self._adapted[0].merge_and_unload()
        return PromptGraph(self.backbone).eval()


class PromptGraph(nn.Module):
    """What is exported for `shared`: the backbone with the bank as an input (DESIGN, section 4)."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs: Tensor, prompts: Tensor, head_weight: Tensor, head_bias: Tensor) -> Tensor:
        """Return logits `[B, R]`.

        Args:
            inputs: images uint8 `[B, H, W, 3]`, or features float32 `[B, frames, mels]`.
            prompts: float32 `[P, T, D]`, P may be 0.
            head_weight: float32 `[R, D]`.
            head_bias: float32 `[R]`.
        """
        tokens = self.backbone.embed(inputs)
        prefix = prompts.reshape(1, -1, self.backbone.width).expand(tokens.shape[0], -1, -1)
        hidden = self.backbone.encode(torch.cat([prefix, tokens], dim=1))
        return hidden[:, prefix.shape[1]] @ head_weight.T + head_bias


def _query_value_paths(vit: nn.Module) -> list[str]:
    wanted = {"query", "q_proj", "value", "v_proj"}
    return [path for path, _ in vit.named_modules() if path.rpartition(".")[2] in wanted]
