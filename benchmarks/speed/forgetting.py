"""What forgetting costs: a row dropped, in memory and durably, against everything else that makes a model forget.

    pfedge demo --out demo && python benchmarks/speed/forgetting.py demo/run --out benchmarks/results/forgetting.json

Dropping is timed at 8 and at 1,000 rows of a ViT-S's width. Against it, on the run given and with its data: training
again (what the run itself took), exporting again with a TensorRT engine, and Selective Synaptic Dampening (Foster,
Schoepf, Brintrup, "Fast Machine Unlearning Without Retraining Through Selective Synaptic Dampening", AAAI 2024, arXiv
2308.07707), written from the paper: it needs the data of all classes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from pfedge.data import Split
from pfedge.exporting import ExportSettings, export_run
from pfedge.guarantees import load_model
from pfedge.guarantees.shared import PromptBankModel
from pfedge.runs import Run
from pfedge_export import BundleDescription, export_bundle
from pfedge_export.tensorrt import EngineBuilder, build_engines
from pfedge_runtime.bank import PromptBank
from pfedge_runtime.bench import machine, time_forgets
from pfedge_runtime.bundle import Bundle
from pfedge_runtime.engines import open_engine
from pfedge_runtime.errors import MissingExtraError
from pfedge_runtime.inputs import ImagePreprocess

ROOT = Path(__file__).parents[2]
WIDTH = 384
ALPHA, LAMBDA = 10.0, 1.0  # of Selective Synaptic Dampening, as in its paper


class Flat(nn.Module):
    """The smallest graph with the signature: what is timed is the bank."""

    def __init__(self) -> None:
        """Draw weights."""
        super().__init__()
        self.project = nn.Linear(3, WIDTH)

    def forward(
        self, images: torch.Tensor, prompts: torch.Tensor, head_weight: torch.Tensor, head_bias: torch.Tensor
    ) -> torch.Tensor:
        """Return logits `[B, R]`."""
        feature = self.project(images.float().mean((1, 2)) / 255) + prompts.flatten(0, 1).mean(0)
        return feature @ head_weight.T + head_bias


def bundle_of(rows: int, folder: Path) -> Bundle:
    """Return a bundle of random rows."""
    rng = np.random.default_rng(0)
    bank = PromptBank(
        class_ids=tuple(range(rows)),
        prompts=rng.normal(size=(rows, 1, WIDTH)).astype(np.float32),
        head_weight=rng.normal(size=(rows, WIDTH)).astype(np.float32),
        head_bias=rng.normal(size=rows).astype(np.float32),
        threshold=np.zeros(rows, np.float32),
    )
    names = tuple(f"class {number}" for number in range(rows))
    description = BundleDescription(
        "shared", "random", names, ImagePreprocess(8, 8), {"rows": rows, "shared": 0}, {}, tolerance=1e-3
    )
    images = rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    return export_bundle(folder / "bundle", Flat(), bank, description, images)[0]


def dampen(model: PromptBankModel, train: Split, class_id: int, batch_size: int = 32) -> float:
    """Apply Selective Synaptic Dampening to all that was trained; return the share of it that was dampened."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def importance(split: Split) -> list[torch.Tensor]:
        """Return the mean squared gradient of the loss, batch by batch: the diagonal of the Fisher information."""
        totals = [torch.zeros_like(p) for p in parameters]
        batches = range(0, len(split), batch_size)
        for start in batches:
            index = np.arange(start, min(start + batch_size, len(split)))
            images = torch.from_numpy(split.batch(index, model.backbone.preprocess))
            rows = torch.arange(len(model.class_ids)).expand(len(index), -1)
            target = torch.from_numpy(np.searchsorted(model.class_ids, split.labels[index]))
            model.zero_grad()
            torch.autograd.backward(F.cross_entropy(model(images, rows), target))
            for total, parameter in zip(totals, parameters, strict=True):
                if parameter.grad is not None:
                    total.add_(parameter.grad**2)
        return [total / len(batches) for total in totals]

    of_all, of_class = importance(train), importance(train.only([class_id]))
    changed = count = 0
    with torch.no_grad():
        for parameter, whole, part in zip(parameters, of_all, of_class, strict=True):
            chosen = part > ALPHA * whole
            parameter[chosen] *= (LAMBDA * whole[chosen] / part[chosen]).clamp(max=1)
            changed, count = changed + int(chosen.sum()), count + chosen.numel()
    return changed / count


def alternatives(run: Run) -> dict[str, Any]:
    """Return seconds of what else would make the run's model forget a class."""
    metrics = json.loads((run.folder / "metrics.json").read_text())
    costs: dict[str, Any] = {"training again": metrics["train_seconds"]}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        settings = ExportSettings(out=Path(folder) / "bundle", precision="fp16", max_drop=1.0)
        bundle, _ = export_run(run, settings)
        costs["exporting again"] = time.perf_counter() - started
        try:
            (engine,) = build_engines(bundle, EngineBuilder("tensorrt-rtx"), capabilities=("8.9",))
            costs["building the engine again"] = engine.seconds
        except MissingExtraError as error:
            costs["building the engine again"] = str(error)
    model = load_model(run)
    train = run.load_dataset(model.backbone.image_size).train
    started = time.perf_counter()
    model.train()
    costs["dampened share"] = dampen(model, train, model.class_ids[0])
    costs["Selective Synaptic Dampening"] = time.perf_counter() - started
    return costs


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?", help="a run of guarantee shared; without one, dropping alone")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "forgetting.json")
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "dropping": {}}
    for rows in (8, 1000):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # on the disk that bundles are on, not in memory
            bundle = bundle_of(rows, Path(folder))
            times = time_forgets(bundle, open_engine(bundle))
        result["dropping"][str(rows)] = {"in_memory_ms": times.in_memory, "durable_ms": times.durable}
        print(f"{rows:>5} rows: {times.in_memory:.3f} ms in memory, {times.durable:.2f} ms durable", flush=True)
    if options.run:
        run = Run.open(options.run)
        result["run"] = run.config.dataset_name
        result["alternatives"] = alternatives(run)
        for name, cost in result["alternatives"].items():
            print(f"{name}: {cost:.3f}" if isinstance(cost, float) else f"{name}: {cost}")
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
