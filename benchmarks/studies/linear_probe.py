"""What the frozen features of `builtin:micro` are worth: linear probes against the same network with random weights.

    python benchmarks/studies/linear_probe.py                            # digits only
    python benchmarks/studies/linear_probe.py ../shared/data/medmnist    # and bloodmnist, 28 px

Logistic regression on standardised features; its strength is chosen on the validation split, the figure is
the test accuracy. `CLS` is the last block's CLS token; `blocks` is CLS and mean patch token of every block.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pfedge.backbone import Backbone, load_backbone
from pfedge.data import Split, load_dataset

STRENGTHS = (0.03, 0.3, 3.0)
BATCH = 256


@torch.no_grad()
def features(backbone: Backbone, split: Split) -> dict[str, NDArray[np.float32]]:
    collected: dict[str, list[NDArray[np.float32]]] = {"CLS": [], "blocks": []}
    for start in range(0, len(split), BATCH):
        index = np.arange(start, min(start + BATCH, len(split)))
        tokens = backbone.embed(torch.from_numpy(split.batch(index, backbone.preprocess)))
        every = []
        for block in backbone.blocks:
            tokens = block(tokens)
            every += [tokens[:, 0], tokens[:, 1:].mean(1)]
        collected["CLS"].append(tokens[:, 0].numpy())
        collected["blocks"].append(torch.cat(every, dim=1).numpy())
    return {name: np.concatenate(chunks) for name, chunks in collected.items()}


def probe(backbone: Backbone, name: str, data_root: Path | None) -> dict[str, float]:
    dataset = load_dataset(name, image_size=28, data_root=data_root, download=False)
    train, val, test = (features(backbone, split) for split in (dataset.train, dataset.val, dataset.test))
    scores = {}
    for kind in train:
        fitted = [
            make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200)).fit(
                train[kind], dataset.train.labels
            )
            for strength in STRENGTHS
        ]
        best = max(fitted, key=lambda classifier: classifier.score(val[kind], dataset.val.labels))
        scores[kind] = best.score(test[kind], dataset.test.labels)
    return scores


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_root", type=Path, nargs="?", help="the folder that holds bloodmnist.npz")
    data_root = parser.parse_args().data_root
    trained, untrained = load_backbone("builtin:micro"), load_backbone("builtin:micro")
    torch.manual_seed(0)
    untrained.vit.load_state_dict(type(untrained.vit)(untrained.vit.config, add_pooling_layer=False).state_dict())
    print(f"{'data set':<12}{'features':<10}{'random':>8}{'micro':>8}{'gain':>8}")
    for name in ("digits", "bloodmnist") if data_root else ("digits",):
        before, after = probe(untrained, name, data_root), probe(trained, name, data_root)
        for kind in before:
            gain = after[kind] - before[kind]
            print(f"{name:<12}{kind:<10}{before[kind]:>8.3f}{after[kind]:>8.3f}{gain:>+8.3f}")


if __name__ == "__main__":
    main()
