"""Backbones with random weights in Hugging Face layout: small enough for every test."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import ASTConfig, ASTModel, ViTConfig, ViTModel

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


def write_tiny_ast(folder: Path) -> Path:
    """Write an audio transformer with random weights: 2 blocks, 32 wide, 64 frames of 16 filters."""
    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.2,
        patch_size=8,
        frequency_stride=8,
        time_stride=8,
        max_length=64,
        num_mel_bins=16,
    )
    ASTModel(config).save_pretrained(folder)
    extractor = {"sampling_rate": 16_000, "max_length": 64, "num_mel_bins": 16, "mean": -4.0, "std": 4.0}
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor))
    return folder
