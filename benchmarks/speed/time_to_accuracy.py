"""How long runs trained until they reached a test accuracy: those given, trained on the same machine.

    pfedge train ... --out runs/shared --keep 0
    pfedge train ... --guarantee isolated --out runs/isolated --keep 0
    python benchmarks/speed/time_to_accuracy.py runs/shared runs/isolated

Every epoch's checkpoint was kept (`--keep 0`) and measured here, so that measuring took no training time. That of
`isolated` includes caching keys and values; `exact` has one pass and one accuracy.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path

from rich.console import Console

from pfedge.guarantees import load_model
from pfedge.guarantees.isolated import IsolatedModel, isolated_logits
from pfedge.guarantees.shared import full_bank_logits
from pfedge.runs import Run


def accuracy(path: Path) -> float:
    """Return the test accuracy of a checkpoint under its full bank."""
    run = Run.open(path)
    model = load_model(run)
    test = run.load_dataset(model.backbone.image_size).test
    if isinstance(model, IsolatedModel):
        logits = isolated_logits(model, test, Console(quiet=True))
    else:
        logits = full_bank_logits(model, test, autocast=contextlib.nullcontext())
    return float((logits.argmax(1) == test.labels).mean())


def until(folder: Path, target: float) -> tuple[str, float | None]:
    """Print a run's seconds and accuracies until the target is reached; return its guarantee and those seconds."""
    run = Run.open(folder)
    guarantee = run.config.train.guarantee
    metrics = json.loads((folder / "metrics.json").read_text())
    if guarantee == "exact":
        print(f"{guarantee:<9} {metrics['train_seconds']:7.1f} s  test accuracy {metrics['test_accuracy']:.3f}")
        return guarantee, metrics["train_seconds"] if metrics["test_accuracy"] >= target else None
    seconds = metrics.get("cache_seconds", 0.0)
    for record in metrics["history"]:
        seconds += record["seconds"]
        (checkpoint,) = folder.rglob(f"*_{record['epoch']}.safetensors")
        reached = accuracy(checkpoint)
        print(f"{guarantee:<9} {seconds:7.1f} s  epoch {record['epoch']:>2}  test accuracy {reached:.3f}", flush=True)
        if reached >= target:
            return guarantee, seconds
    return guarantee, None


def main() -> None:
    """Measure each run's checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--target", type=float, default=0.90)
    options = parser.parse_args()
    print(json.dumps({"target": options.target, "seconds": dict(until(run, options.target) for run in options.runs)}))


if __name__ == "__main__":
    main()
