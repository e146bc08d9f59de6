"""What tests of the trainer alone share: real weights, and small sets to learn from."""

from __future__ import annotations

import numpy as np
import pytest

from support.paths import SHARED


@pytest.fixture(scope="session")
def shared_weights():
    """The folder of a real pretrained ViT-S."""
    path = SHARED / "weights" / "vit-small-patch14-112"
    if not path.is_dir():
        pytest.skip(f"no real weights at {path} (set PFEDGE_SHARED)")
    return path


@pytest.fixture(scope="session")
def shaded_npz(tmp_path_factory):
    """A set in MedMNIST's layout of 4 classes told apart by shade, each with images in every split."""
    rng = np.random.default_rng(1)
    arrays = {}
    for split, count in (("train", 64), ("val", 40), ("test", 40)):
        labels = np.arange(count) % 4
        noise = rng.normal(0, 20, (count, 14, 14, 3))
        arrays[f"{split}_images"] = np.clip(40 + 55 * labels[:, None, None, None] + noise, 0, 255).astype(np.uint8)
        arrays[f"{split}_labels"] = labels[:, None].astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "shaded.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def tones(tmp_path_factory):
    """A learnable folder of sounds: three classes told apart by pitch, 20 files each, in three formats."""
    import soundfile

    root = tmp_path_factory.mktemp("data") / "tones"
    rng = np.random.default_rng(0)
    for hertz in (200, 800, 3200):
        (root / f"hz{hertz}").mkdir(parents=True)
        for index in range(20):
            time = np.arange(9_600) / 16_000
            sound = 0.5 * np.sin(2 * np.pi * hertz * rng.uniform(0.9, 1.1) * time) + rng.normal(0, 0.02, len(time))
            soundfile.write(root / f"hz{hertz}" / f"{index}.{('wav', 'ogg', 'flac')[index % 3]}", sound, 16_000)
    return root
