"""How long each guarantee trains until it reaches a test accuracy, all on this machine, one after the other.

    python benchmarks/time_to_accuracy.py ../shared/data/blood112 ../shared/weights/vit-small-patch14-112

Every epoch's checkpoint is kept and measured afterwards, so that measuring takes no training time. The time of
`isolated` includes that of caching keys and values; `exact` has one pass and one accuracy.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from pathlib import Path

from rich.console import Console

from pfedge.data import load_dataset
from pfedge.evaluate import full_bank_logits
from pfedge.isolated import IsolatedModel
from pfedge.run import Run
from pfedge.train import Settings, TrainConfig, train
from pfedge.train_exact import train_exact
from pfedge.train_isolated import isolated_logits, train_isolated

TRAINERS = {"exact": train_exact, "isolated": train_isolated, "shared": train}


def accuracy(path: Path) -> float:
    """Return the test accuracy of a checkpoint under its full bank."""
    run = Run.open(path)
    model = run.load_model()
    test = load_dataset(run.config["train"]["dataset"], image_size=model.backbone.image_size).test
    if isinstance(model, IsolatedModel):
        logits = isolated_logits(model, test, Console(quiet=True))
    else:
        logits = full_bank_logits(model, test, autocast=contextlib.nullcontext())
    return float((logits.argmax(1) == test.labels).mean())


def main() -> None:
    """Train each and print seconds and accuracy after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("model_name")
    parser.add_argument("--target", type=float, default=0.90)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--guarantees", default="exact,isolated,shared")
    options = parser.parse_args()
    reached = {}
    for guarantee in options.guarantees.split(","):
        config = TrainConfig(options.dataset, options.model_name, guarantee, epochs=options.epochs)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            settings = Settings(out=folder, save_dir=folder, keep=0, eval_every=options.epochs, eval_limit=1)
            run, metrics = TRAINERS[guarantee](config, settings, Console(quiet=True))
            if guarantee == "exact":
                points = [(metrics["train_seconds"], metrics["test_accuracy"])]
            else:
                seconds, points = metrics.get("cache_seconds", 0.0), []
                for record in metrics["history"]:
                    seconds += record["seconds"]
                    points.append((seconds, accuracy(folder / f"{run.name}_{record['epoch']}.safetensors")))
        for seconds, value in points:
            print(f"{guarantee:<9} {seconds:7.1f} s  test accuracy {value:.3f}", flush=True)
        reached[guarantee] = next((round(s, 1) for s, value in points if value >= options.target), None)
    print(json.dumps({"target": options.target, "seconds": reached}))


if __name__ == "__main__":
    main()
