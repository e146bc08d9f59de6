"""One graph, no re-export: compare torch and ONNX Runtime under every bank that forgetting can leave.

    python benchmarks/studies/every_bank.py runs/isolated isolated-bundle --inputs 8

All 2^K - 2 smaller banks are given to the one exported graph; the retained logits are also compared with those of
the full bank, to show whether forgetting moves them; for `isolated` on torch too.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pfedge.guarantees import load_model
from pfedge.guarantees.isolated import IsolatedModel
from pfedge.runs import Run
from pfedge_export.parity import torch_logits
from pfedge_runtime.bundle import Bundle
from pfedge_runtime.engines import OnnxRuntimeEngine


def independent_logits(model: IsolatedModel, inputs: NDArray[Any]) -> Callable[[list[int] | None], NDArray[Any]]:
    """Return what gives torch's logits `[B, R]` under the rows at some positions, or all."""
    with torch.no_grad():
        frozen = model.eval().run_backbone(torch.from_numpy(inputs))

    @torch.no_grad()
    def logits(keep: list[int] | None) -> NDArray[Any]:
        return model.score(frozen, keep).numpy()

    return logits


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--inputs", type=int, default=8)
    options = parser.parse_args()
    run, bundle = Run.open(options.run), Bundle.open(options.bundle)
    model = load_model(run)
    test = run.load_dataset(model.backbone.image_size).test.sample(options.inputs)
    inputs = test.batch(np.arange(len(test)), model.backbone.preprocess)
    module, engine, bank = model.deployable(), OnnxRuntimeEngine(bundle.graph_path), bundle.bank()
    full, ids = engine.run(inputs, bank).logits, bank.class_ids
    largest, relative, moved, moved_torch, agree, count = 0.0, 0.0, 0.0, 0.0, 0, 0
    scored = independent_logits(model, inputs) if isinstance(model, IsolatedModel) else None
    for size in range(1, len(ids)):
        for keep in itertools.combinations(ids, size):
            smaller = bank.select(keep)
            ours, theirs = torch_logits(module, inputs, smaller), engine.run(inputs, smaller).logits
            difference = float(np.abs(ours - theirs).max())
            largest = max(largest, difference)
            relative = max(relative, difference / max(1.0, float(np.abs(ours).max())))
            moved = max(moved, float(np.abs(full[:, [ids.index(c) for c in keep]] - theirs).max()))
            if scored is not None:
                columns = [ids.index(c) for c in keep]
                moved_torch = max(moved_torch, float(np.abs(scored(None)[:, columns] - scored(columns)).max()))
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
                "retained_logits_moved": {"onnxruntime": moved}
                | ({"torch": moved_torch} if scored is not None else {}),
            }
        )
    )


if __name__ == "__main__":
    main()
