"""What a user waits for: whole processes, from the shell's point of view.

    python benchmarks/speed/startup.py --out benchmarks/results/startup.json

`pfedge --help`; `pfedge predict` of one image; and the same prediction made with transformers and torch, on the same
backbone: loading the model from its folder, reading the image, one forward pass. A ViT-S/14 at 112 px, that of
$PFEDGE_SHARED or, where it is absent, one of random weights. In turns; medians of time and of peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peers import prepare
from PIL import Image

from pfedge.backbone import load_backbone
from pfedge.guarantees.shared import PromptGraph
from pfedge_export import BundleDescription, export_bundle
from pfedge_runtime.bank import PromptBank
from pfedge_runtime.bench import machine

ROOT = Path(__file__).parents[2]
MODEL = "ViT-S/14 112"
TRANSFORMERS = """
import sys
import torch
from PIL import Image
from transformers import ViTImageProcessor, ViTModel
processor = ViTImageProcessor.from_pretrained(sys.argv[1])
model = ViTModel.from_pretrained(sys.argv[1], add_pooling_layer=False).float().eval()
head = torch.nn.Linear(model.config.hidden_size, 8)
with torch.inference_mode():
    pixels = processor(Image.open(sys.argv[2]).convert("RGB"), return_tensors="pt")
    print(head(model(**pixels).last_hidden_state[:, 0]).argmax().item())
"""
MEASURED = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
took = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([took, peak]))
"""


def measured(command: list[str], bundle: Path) -> tuple[float, int]:
    """Return seconds and peak bytes of a process, seen by a parent that has no other child."""
    environment = {**os.environ, "PFEDGE_BUNDLE": str(bundle)}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, check=True, env=environment
    )
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "startup.json")
    options = parser.parse_args()
    pfedge = str(Path(sys.executable).parent / "pfedge")
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        prepare(MODEL, folder)
        backbone = load_backbone(str(folder / "backbone"))
        images = np.load(folder / "images.npy")[:4]
        description = BundleDescription(
            "shared", "random", tuple("abcdefgh"), backbone.preprocess, {"rows": 1, "shared": 0}, {}
        )
        bank = PromptBank.load(folder / "bank.safetensors")
        bundle, _ = export_bundle(folder / "bundle", PromptGraph(backbone).eval(), bank, description, images)
        image = folder / "image.png"
        Image.fromarray(images[0]).save(image)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "pfedge --help": [pfedge, "--help"],
            "pfedge predict": [pfedge, "predict", str(image)],
            "transformers and torch": [sys.executable, "-c", TRANSFORMERS, str(folder / "backbone"), str(image)],
        }
        found: dict[str, list[tuple[float, int]]] = {name: [] for name in commands}
        started = time.perf_counter()
        for _ in range(options.runs):  # in turns, so that all see the same noise
            for name, command in commands.items():
                found[name].append(measured(command, bundle.path))
        print(f"{options.runs} rounds in {time.perf_counter() - started:.0f} s")
    result = {
        name: {
            "seconds": statistics.median(seconds for seconds, _ in values),
            "peak_bytes": statistics.median(peak for _, peak in values),
        }
        for name, values in found.items()
    }
    for name, one in result.items():
        print(f"{name:<24} median {one['seconds']:6.2f} s   peak memory {one['peak_bytes'] / 2**20:6.0f} MiB")
    ours, theirs = result["pfedge predict"], result["transformers and torch"]
    ratios = {key: theirs[key] / ours[key] for key in ours}
    print(f"transformers and torch take {ratios['seconds']:.1f} x the time and {ratios['peak_bytes']:.1f} x the memory")
    options.out.write_text(
        json.dumps({"machine": machine(), "runs": options.runs, "processes": result}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
