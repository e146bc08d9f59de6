"""Make `tests/formats/v1`: a small real bundle and bank that every later version must be able to read.

    python scripts/make_golden.py tests/formats/v1
    python scripts/make_golden.py tests/formats/v1/exact --guarantee exact           # and isolated

A released format's folder is made once and never again; a new format gets a new folder.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from transformers import ViTConfig, ViTModel

from pfedge.data import load_dataset
from pfedge.export import ExportSettings, export_run
from pfedge.train import Settings, TrainConfig, train
from pfedge.train_exact import train_exact
from pfedge.train_isolated import train_isolated
from pfedge_runtime import Classifier

SIDE = 14
PREPROCESSOR = {
    "resample": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def write_tiny_vit(folder: Path, *, side: int = SIDE, patch: int = 7, seed: int = 0) -> Path:
    """Write a ViT with random weights (2 blocks, 32 wide, 4 patches) in Hugging Face layout."""
    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=side,
        patch_size=patch,
        initializer_range=0.2,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({**PREPROCESSOR, "size": {"height": side, "width": side}})
    )
    return folder


GUARANTEES = {"shared": train, "isolated": train_isolated, "exact": train_exact}


def write_bundle(out: Path, guarantee: str) -> None:
    """Train, export, and write down what the bundle predicts."""
    with tempfile.TemporaryDirectory() as folder:
        backbone = write_tiny_vit(Path(folder) / "vit")
        config = TrainConfig("digits", str(backbone), guarantee, epochs=3, lr=3e-3, embedding_dim=16)
        settings = Settings(out=Path(folder) / "run", save_dir=Path(folder) / "run", precision="fp32")
        run, _ = GUARANTEES[guarantee](config, settings, Console())
        bundle, _ = export_run(run, ExportSettings(out=out / "bundle"))
    test = load_dataset("digits", image_size=SIDE).test
    images = test.batch(np.arange(8), bundle.manifest.preprocess)
    classifier = Classifier.open(bundle.path, use_thresholds=False)
    _, logits = classifier.logits(images)
    np.savez_compressed(out / "expected.npz", images=images, labels=test.labels[:8], logits=logits)


def main() -> None:
    """Write the bundle of one guarantee."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--guarantee", choices=GUARANTEES, default="shared")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    write_bundle(options.out, options.guarantee)


if __name__ == "__main__":
    main()
