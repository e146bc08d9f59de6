"""The reference's own model, written from its description: what an imported checkpoint must compute."""

from __future__ import annotations

import warnings

import torch
import transformers
from torch import nn

GENERATION_4 = transformers.__version__.startswith("4.")
TO_4 = {  # transformers 5 renamed these; a checkpoint of the reference has the names on the right
    "model.layers.": "model.encoder.layer.",
    ".attention.q_proj.": ".attention.attention.query.",
    ".attention.k_proj.": ".attention.attention.key.",
    ".attention.v_proj.": ".attention.attention.value.",
    ".attention.o_proj.": ".attention.output.dense.",
    ".mlp.fc1.": ".intermediate.dense.",
    ".mlp.fc2.": ".output.dense.",
}


class Oracle(nn.Module):
    """The reference's model, from its description: peft's own LoRA, prompts before CLS, no final LayerNorm."""

    def __init__(self, folder, classes):
        super().__init__()
        from peft import LoraConfig, get_peft_model

        vit = transformers.ViTModel.from_pretrained(folder, add_pooling_layer=False).float()
        targets = ["query", "value"] if GENERATION_4 else ["q_proj", "v_proj"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = LoraConfig(r=4, lora_alpha=4, lora_dropout=0.1, bias="none", target_modules=targets)
            self.backbone = get_peft_model(vit, config)
        width = vit.config.hidden_size
        self.prompt_dict = nn.ParameterDict({str(i): nn.Parameter(torch.randn(1, width)) for i in range(classes)})
        self.classifier = nn.Linear(width, classes)
        for name, parameter in self.named_parameters():
            if "lora_B" in name:  # zero when drawn: then LoRA would do nothing
                nn.init.normal_(parameter, std=0.3)

    @torch.no_grad()
    def logits(self, pixels, rows):
        """Logits of pixels `[B, 3, H, W]` under the class ids `[B, n]`, in that order; None is no prompt."""
        vit = self.backbone.base_model.model
        tokens = vit.embeddings(pixels)
        count = 0 if rows is None else rows.shape[1]
        if count:
            prompts = [torch.cat([self.prompt_dict[str(int(c))] for c in sample]) for sample in rows]
            tokens = torch.cat([torch.stack(prompts), tokens], dim=1)
        for block in vit.encoder.layer if GENERATION_4 else vit.layers:
            tokens = block(tokens)
        return self.classifier(tokens[:, count])

    def state(self):
        """Its state dictionary under the names that the reference's checkpoints have."""
        state = {}
        for name, value in self.state_dict().items():
            renamed = name
            if not GENERATION_4:
                for new, old in TO_4.items():
                    renamed = renamed.replace(new, old)
            state[renamed] = value
        return state

    def save(self, path, **changed):
        optimizer = torch.optim.Adam([p for p in self.parameters() if p.requires_grad])
        state = {**self.state(), **changed}
        state = {name: value for name, value in state.items() if value is not None}
        torch.save({"model_state_dict": state, "optimizer_state_dict": optimizer.state_dict()}, path)
        return path
