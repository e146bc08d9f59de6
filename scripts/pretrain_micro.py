"""Pretrain `builtin:micro`, the small vision transformer that pfedge ships, from procedural images alone.

    python scripts/pretrain_micro.py --out pfedge/backbone/micro

Two renderings of each latent (scripts/procedural.py) are pulled together and all others pushed apart
(InfoNCE, Chen et al., SimCLR, arXiv 2002.05709), while a linear layer reads the latent off the CLS token
and another off the mean patch token. The result depends on the seed, the number of steps and the
floating-point arithmetic of the machine, on nothing else.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from pfedge.backbone import transformers4_name
from procedural import SIDE, render, sample_latent

CONFIG = ViTConfig(
    hidden_size=192,
    num_hidden_layers=4,
    num_attention_heads=6,
    intermediate_size=768,
    image_size=SIDE,
    patch_size=7,
    layer_norm_eps=1e-6,
    architectures=["ViTModel"],
)
PREPROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": SIDE, "width": SIDE},
    "resample": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
TEMPERATURE = 0.15


class Pretraining(nn.Module):
    """The transformer and the three heads that are thrown away afterwards."""

    def __init__(self, targets: int) -> None:
        """Build with random weights; `targets` is the width of the latent's regression target."""
        super().__init__()
        width = CONFIG.hidden_size
        self.vit = ViTModel(CONFIG, add_pooling_layer=False)
        self.projector = nn.Sequential(nn.Linear(width, 512), nn.GELU(), nn.Linear(512, 128))
        self.from_cls = nn.Linear(width, targets)
        self.from_patches = nn.Linear(width, targets)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return projections [B, 128], targets read off the CLS and off the mean patch token [B, targets]."""
        hidden = self.vit(pixel_values=(picture - 0.5) / 0.5).last_hidden_state
        cls, patches = hidden[:, 0], hidden[:, 1:].mean(1)
        return F.normalize(self.projector(cls), dim=-1), self.from_cls(cls), self.from_patches(patches)


def info_nce(first: Tensor, second: Tensor) -> Tensor:
    """Return the symmetric InfoNCE loss of two batches [B, 128] of unit vectors."""
    both = torch.cat([first, second]).float()
    similarity = (both @ both.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    partner = torch.arange(len(both)).roll(len(first))
    return F.cross_entropy(similarity, partner)


def main() -> None:
    """Pretrain and write config.json, preprocessor_config.json, model.safetensors (float16), history.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("pfedge/backbone/micro"))
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    gen = torch.Generator().manual_seed(args.seed)
    targets = sample_latent(2, gen).targets()[0].shape[1]
    model = Pretraining(targets).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.03)
    warmup = max(1, args.steps // 20)

    def schedule(step: int) -> float:
        progress = max(0.0, (step - warmup) / max(1, args.steps - warmup))
        return min(1.0, (step + 1) / warmup) * (0.5 * (1 + math.cos(math.pi * progress)) + 1e-3)

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    history, started = [], time.monotonic()
    for step in track(range(args.steps), description="pretraining"):
        latent = sample_latent(args.batch_size, gen)
        value, weight = latent.targets()
        value, weight = torch.cat([value, value]), torch.cat([weight, weight])
        pictures = torch.cat([render(latent, gen), render(latent, gen)])
        projection, from_cls, from_patches = model(pictures)
        contrast = info_nce(*projection.chunk(2))
        reading = sum(
            ((guess.float() - value).square() * weight).sum() / weight.sum() for guess in (from_cls, from_patches)
        )
        loss = contrast + reading
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % 50 == 0 or step == args.steps - 1:
            row = {
                "step": step,
                "contrast": contrast.item(),
                "reading": reading.item(),
                "seconds": round(time.monotonic() - started),
            }
            history.append(row)
            print(row, flush=True)
        if step % 500 == 499 or step == args.steps - 1:
            write(model.vit, args.out)
    (args.out / "history.json").write_text(json.dumps(history, indent=1) + "\n")


def write(vit: ViTModel, out: Path) -> None:
    """Write the transformer as a Hugging Face folder in float16, under names that transformers 4 and 5 read."""
    out.mkdir(parents=True, exist_ok=True)
    state = {transformers4_name(name): tensor.detach().half().contiguous() for name, tensor in vit.state_dict().items()}
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    CONFIG.save_pretrained(out)
    (out / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=2) + "\n")


if __name__ == "__main__":
    main()
