"""Make `tests/formats/v1`: a small real bundle and bank that every later version must be able to read.

    python scripts/make_golden.py tests/formats/v1

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


def main() -> None:
    """Train, export, and write down what the bundle predicts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        backbone = write_tiny_vit(Path(folder) / "vit")
        config = TrainConfig(dataset="digits", model_name=str(backbone), epochs=3, lr=3e-3)
        run, _ = train(config, Settings(out=Path(folder) / "run", save_dir=Path(folder) / "run"), Console())
        bundle, _ = export_run(run, ExportSettings(out=out / "bundle"))
    test = load_dataset("digits", image_size=SIDE).test
    images = test.batch(np.arange(8), bundle.manifest.preprocess)
    classifier = Classifier.open(bundle.path, use_thresholds=False)
    _, logits = classifier.logits(images)
    np.savez_compressed(out / "expected.npz", images=images, labels=test.labels[:8], logits=logits)


if __name__ == "__main__":
    main()
