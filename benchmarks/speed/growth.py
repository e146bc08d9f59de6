"""How time and memory grow with rows, batch and image size, on ONNX Runtime CPU, with fitted slopes.

    python benchmarks/speed/growth.py --out benchmarks/results/growth.json

A ViT-S of random weights (speed does not depend on them) under guarantee `isolated`, one token per class; every point
is a process of its own. A slope is the exponent p of a power law `value ~ size**p`, fitted by least squares to the
logarithms over the upper half of the points.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import ViTConfig, ViTModel

from pfedge.backbone import Backbone, EmbeddingSpec, PixelNormalize
from pfedge.guarantees.isolated import IsolatedModel
from pfedge_export.graph import export_graph
from pfedge_runtime.bank import guarantee
from pfedge_runtime.bench import PEAK_BYTES, machine
from pfedge_runtime.inputs import ImagePreprocess

ROOT = Path(__file__).parents[2]
ROWS = (1, 8, 64, 512, 4096)
BATCHES = (1, 4, 16, 64)
SIDES = (112, 224, 336, 448)
CHILD = f"""{PEAK_BYTES}
import json, statistics, sys, time
import numpy as np
from pfedge_runtime.bank.prompt_bank import PromptBank
from pfedge_runtime.engines.onnxruntime_engine import OnnxRuntimeEngine
graph, side, rows, batch, width, extra = sys.argv[1], *map(int, sys.argv[2:])
rng = np.random.default_rng(0)
draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
bank = PromptBank(class_ids=tuple(range(rows)), prompts=draw(rows, 1, width), head_weight=draw(rows, width + extra),
                  head_bias=draw(rows), threshold=np.full(rows, -np.inf, np.float32))
images = rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
engine, times = OnnxRuntimeEngine(graph), []
started = time.perf_counter()
while len(times) < 4 or (time.perf_counter() - started < 5 and len(times) < 40):
    begun = time.perf_counter()
    engine.run(images, bank)
    times.append((time.perf_counter() - begun) * 1e3)
print(json.dumps(dict(milliseconds=statistics.median(times[1:]), peak_bytes=peak_bytes())))
"""


def export(side: int, path: Path) -> tuple[int, int]:
    """Write the graph for images of a side; return D and E."""
    torch.manual_seed(0)
    config = ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536, patch_size=14, image_size=side)
    preprocess = ImagePreprocess(side, side)
    vit, normalize = ViTModel(config, add_pooling_layer=False).eval(), PixelNormalize([0.5] * 3, [0.5] * 3)
    backbone = Backbone(vit, name="random", preprocess=preprocess, normalize=normalize)
    model = IsolatedModel(backbone, class_ids=range(8), spec=EmbeddingSpec())
    export_graph(model.deployable(), model.bank(), path, preprocess, guarantee("isolated").graph)
    return backbone.width, model.embedding.spec.dim


def point(graph: Path, side: int, rows: int, batch: int, width: int, extra: int) -> dict[str, Any]:
    """Measure one point in a process of its own."""
    numbers = map(str, (side, rows, batch, width, extra))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(graph), *numbers], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def slope(sizes: list[int], values: list[float]) -> float:
    """Return the exponent of a power law through the upper half of the points."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(values[half:]), 1)[0])


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "growth.json")
    options = parser.parse_args()
    series: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        graphs = {side: Path(folder) / f"{side}.onnx" for side in SIDES}
        widths = {side: export(side, path) for side, path in graphs.items()}
        small = SIDES[0]
        plans = {
            "rows": [(small, rows, 1) for rows in ROWS],
            "batch": [(small, 8, batch) for batch in BATCHES],
            "side": [(side, 8, 1) for side in SIDES],
        }
        for name, plan in plans.items():
            sizes = [{"rows": rows, "batch": batch, "side": side}[name] for side, rows, batch in plan]
            points = [point(graphs[side], side, rows, batch, *widths[side]) for side, rows, batch in plan]
            series[name] = {
                "sizes": sizes,
                "points": points,
                "slope_time": slope(sizes, [one["milliseconds"] for one in points]),
                "slope_memory": slope(sizes, [float(one["peak_bytes"]) for one in points]),
            }
            for size, one in zip(sizes, points, strict=True):
                print(
                    f"{name:<6} {size:>5} {one['milliseconds']:>9.1f} ms {one['peak_bytes'] / 2**20:>7.0f} MiB",
                    flush=True,
                )
            print(f"{name:<6} slopes: time {series[name]['slope_time']:.2f}, memory {series[name]['slope_memory']:.2f}")
    options.out.write_text(json.dumps({"machine": machine(), "series": series}, indent=1) + "\n")


if __name__ == "__main__":
    main()
