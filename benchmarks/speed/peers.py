"""pfedge beside PyTorch, optimum-onnx, ONNX Runtime and OpenVINO on this machine's CPU, in turns.

    python benchmarks/speed/peers.py --rounds 15 --out benchmarks/results/peers.json

ViT-B/16 at 224 px with random weights, and the ViT-S/14 at 112 px of $PFEDGE_SHARED (random weights where it is
absent), both with 8 rows. Every contender is a process of its own; in each round each is called once, for each batch
size. The last line is the arithmetic floor: the products of one forward pass at the fastest rate that torch reaches on
this processor in any number format. `optimum-onnx` needs transformers 4: `make bench` puts both into .venv/optimum.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from transformers import ViTConfig, ViTModel

from pfedge.backbone import load_backbone
from pfedge.guarantees.shared import PromptBankModel
from pfedge_export.graph import export_graph
from pfedge_export.precision import QUANTIZATIONS, Calibration, to_int8
from pfedge_runtime.bank import guarantee
from pfedge_runtime.bench import machine

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("PFEDGE_SHARED", ROOT.parent / "shared"))
ROWS = 8
BATCHES = (1, 8, 32)
BASELINE = "torch eager fp32"
SIZES = {
    "ViT-B/16 224": {"hidden_size": 768, "heads": 12, "patch": 16, "side": 224},
    "ViT-S/14 112": {"hidden_size": 384, "heads": 6, "patch": 14, "side": 112},
}


def prepare(name: str, folder: Path) -> None:
    """Put a model into a folder in every form that a contender needs."""
    size = SIZES[name]
    torch.manual_seed(0)
    real = SHARED / "weights" / "vit-small-patch14-112"
    if name.startswith("ViT-S") and real.is_dir():
        shutil.copytree(real, folder / "backbone")
    else:
        config = ViTConfig(
            hidden_size=size["hidden_size"],
            num_attention_heads=size["heads"],
            intermediate_size=4 * size["hidden_size"],
            patch_size=size["patch"],
            image_size=size["side"],
        )
        ViTModel(config, add_pooling_layer=False).save_pretrained(folder / "backbone")
        about = {
            "size": {"height": size["side"], "width": size["side"]},
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        }
        (folder / "backbone" / "preprocessor_config.json").write_text(json.dumps(about))
    backbone = load_backbone(str(folder / "backbone"))
    model = PromptBankModel(backbone, class_ids=range(ROWS))
    bank = model.bank()
    (folder / "bank.safetensors").write_bytes(bank.to_bytes())
    images = np.random.default_rng(0).integers(0, 256, (max(BATCHES), size["side"], size["side"], 3), dtype=np.uint8)
    np.save(folder / "images.npy", images)
    graph = export_graph(
        model.deployable(), bank, folder / "graph.onnx", backbone.preprocess, guarantee("shared").graph
    )
    calibration = Calibration(bank, images, np.arange(len(images)) % ROWS)
    for quantization in QUANTIZATIONS:
        onnx.save(to_int8(graph, calibration, quantization), folder / f"{quantization}.onnx")


class Contender:
    """A process that answers with milliseconds."""

    def __init__(self, name: str, folder: Path) -> None:
        """Start it and wait until it has loaded.

        Raises:
            RuntimeError: it did not.
        """
        environment = dict(os.environ)
        if name.startswith("optimum"):
            extra = ROOT / ".venv" / "optimum"
            environment["PYTHONPATH"] = str(os.environ.get("PFEDGE_OPTIMUM", extra))
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "benchmarks" / "peer.py"), name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        while (line := self._process.stdout.readline()) and line.strip() != "ready":
            pass
        if not line:
            message = (self._process.stderr.read().strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(message)

    def milliseconds(self, batch: int) -> float:
        """Let it make one call."""
        self._process.stdin.write(f"{batch}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def stop(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.wait()


def gigaflops() -> dict[str, float]:
    """Return the rate of a large matrix product in each number format, in 10^9 operations a second; best of 20."""
    size = 2048
    rates = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("int8", torch.int8)):
        left, right = (torch.randint(-9, 9, (size, size)).to(dtype) for _ in "ab")
        product = torch._int_mm if dtype == torch.int8 else torch.mm  # noqa: SLF001 -- its only name
        times = []
        for _ in range(20):
            started = time.perf_counter()
            product(left, right)
            times.append(time.perf_counter() - started)
        rates[name] = 2 * size**3 / min(times) / 1e9
    return rates


def operations(name: str) -> float:
    """Return the multiplications and additions of one input's forward pass: twelve blocks, patches, all products."""
    size = SIZES[name]
    width, tokens = size["hidden_size"], (size["side"] // size["patch"]) ** 2 + 1 + ROWS
    block = 2 * tokens * 12 * width**2 + 4 * tokens**2 * width
    return 12 * block + 2 * (tokens - 1 - ROWS) * 3 * size["patch"] ** 2 * width


def measure(name: str, rounds: int, only: list[str]) -> dict[str, Any]:
    """Return batch -> contender -> median milliseconds of one model."""
    from peer import CONTENDERS

    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        print(f"{name}: exporting ...", file=sys.stderr, flush=True)
        prepare(name, folder)
        running, failed = {}, {}
        for contender in only or CONTENDERS:
            try:
                running[contender] = Contender(contender, folder)
            except RuntimeError as error:
                failed[contender] = str(error)
                print(f"{contender}: {error}", file=sys.stderr, flush=True)
        times: dict[int, dict[str, list[float]]] = {}
        for batch in BATCHES:
            times[batch] = {contender: [] for contender in running}
            for number in range(rounds + 2):
                for contender, process in running.items():
                    took = process.milliseconds(batch)
                    if number >= 2:  # the first calls warm up, and compile
                        times[batch][contender].append(took)
            print(f"{name}, batch {batch}: done", file=sys.stderr, flush=True)
        for process in running.values():
            process.stop()
    medians = {
        str(batch): {contender: statistics.median(found) for contender, found in of_batch.items()}
        for batch, of_batch in times.items()
    }
    return {"milliseconds": medians, "not_run": failed, "operations": operations(name)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--models", nargs="*", default=list(SIZES))
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "peers.json")
    options = parser.parse_args()
    rates = gigaflops()
    result = {
        "machine": machine() | {"gigaflops": rates},
        "rounds": options.rounds,
        "rows": ROWS,
        "models": {name: measure(name, options.rounds, options.only) for name in options.models},
    }
    for name, model in result["models"].items():
        for batch, medians in model["milliseconds"].items():
            baseline = medians.get(BASELINE)
            print(f"{name}, batch {batch}")
            floor = int(batch) * model["operations"] / max(rates.values()) / 1e6
            for contender, took in [*sorted(medians.items(), key=lambda item: -item[1]), ("arithmetic floor", floor)]:
                ratio = f"{baseline / took:6.2f} x" if baseline else ""
                print(f"  {contender:<32} {took:9.1f} ms {ratio}")
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
