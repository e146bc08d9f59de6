"""One graph, no re-export: compare torch and ONNX Runtime under every bank that forgetting can leave.

    python benchmarks/every_bank.py runs/isolated isolated-bundle --inputs 8

All 2^K - 2 smaller banks are given to the one exported graph; the retained logits are also compared with those of
the full bank, to show whether forgetting moves them.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np

from pfedge.run import Run
from pfedge_export.parity import torch_logits
from pfedge_runtime.bundle import Bundle
from pfedge_runtime.engine import OnnxRuntimeEngine


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--inputs", type=int, default=8)
    options = parser.parse_args()
    run, bundle = Run.open(options.run), Bundle.open(options.bundle)
    model = run.load_model()
    test = run.load_dataset(model.backbone.image_size).test.sample(options.inputs)
    inputs = test.batch(np.arange(len(test)), model.backbone.preprocess)
    module, engine, bank = model.deployable(), OnnxRuntimeEngine(bundle.graph_path), bundle.bank()
    full, ids = engine.run(inputs, bank).logits, bank.class_ids
    largest, relative, moved, agree, count = 0.0, 0.0, 0.0, 0, 0
    for size in range(1, len(ids)):
        for keep in itertools.combinations(ids, size):
            smaller = bank.select(keep)
            ours, theirs = torch_logits(module, inputs, smaller), engine.run(inputs, smaller).logits
            difference = float(np.abs(ours - theirs).max())
            largest = max(largest, difference)
            relative = max(relative, difference / max(1.0, float(np.abs(ours).max())))
            moved = max(moved, float(np.abs(full[:, [ids.index(c) for c in keep]] - theirs).max()))
            agree += int((ours.argmax(1) == theirs.argmax(1)).sum())
            count += 1
    print(
        json.dumps(
            {
                "guarantee": bundle.manifest.guarantee,
                "banks": count,
                "agreement": agree / (count * len(inputs)),
                "largest_difference": largest,
                "of_the_largest_logit": relative,
                "retained_logits_moved": moved,
            }
        )
    )


if __name__ == "__main__":
    main()
