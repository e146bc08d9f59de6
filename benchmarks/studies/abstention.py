"""How many images of a forgotten class are abstained on, by logit thresholds and by probability thresholds.

    make demo && python benchmarks/studies/abstention.py demo/run

Every class is forgotten in turn (row dropped); thresholds are quantiles of the validation images of a row's
own class under the full bank. Means over the classes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from pfedge.compute import choose_autocast
from pfedge.data import load_dataset
from pfedge.guarantees import load_model
from pfedge.guarantees.shared import full_bank_logits
from pfedge.runs import Run
from pfedge_runtime.bank import softmax

SCORES = {"logit": lambda logits: logits, "probability": softmax}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run of guarantee shared")
    run = Run.open(parser.parse_args().run)
    model, autocast = load_model(run), choose_autocast("fp32", torch.device("cpu"))
    dataset = load_dataset(run.config.train.dataset, image_size=model.backbone.preprocess.height)
    rows = np.arange(len(model.class_ids))
    val = full_bank_logits(model, dataset.val, autocast=autocast)
    without = {
        gone: full_bank_logits(model, dataset.test, autocast=autocast, keep=rows[rows != gone])
        for gone in rows.tolist()
    }
    print(f"{'own images accepted':<22}{'score':<14}{'forgotten abstained on':<26}others accepted")
    for acceptance in (0.98, 0.95):
        for name, score in SCORES.items():
            own = [score(val)[dataset.val.labels == class_id, row] for row, class_id in enumerate(model.class_ids)]
            threshold = np.array([np.quantile(values, 1 - acceptance, method="lower") for values in own])
            abstained, accepted = [], []
            for gone, logits in without.items():
                keep = rows[rows != gone]
                scores = score(logits[:, keep])
                winner = scores.argmax(axis=1)
                passed = scores[np.arange(len(scores)), winner] >= threshold[keep][winner]
                forgotten = dataset.test.labels == model.class_ids[gone]
                abstained.append(1 - passed[forgotten].mean())
                accepted.append(passed[~forgotten].mean())
            print(f"{acceptance:<22.0%}{name:<14}{np.mean(abstained):<26.3f}{np.mean(accepted):.3f}")


if __name__ == "__main__":
    main()
