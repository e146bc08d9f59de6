"""TensorRT engines, built ahead of time without a GPU: sizes and seconds.

    python benchmarks/speed/engines.py --out benchmarks/results/engines.json

A ViT-S/14 at 112 px and a ViT-B/16 at 224 px in float16, for compute capabilities 8.6, 8.9 and 12.0, one to 32 images
and one to 8 rows. Nothing is executed: that takes a GPU (`make gpu`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import onnx
from peers import ROWS, SIZES, prepare

from pfedge_export.graph import describe
from pfedge_export.precision import to_fp16
from pfedge_export.tensorrt import CAPABILITIES, EngineBuilder
from pfedge_runtime.bench import machine
from pfedge_runtime.engines import Profile

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Build, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "engines.json")
    options = parser.parse_args()
    builder, built = EngineBuilder("tensorrt-rtx"), []
    for name in SIZES:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            prepare(name, folder)
            graph = to_fp16(onnx.load(folder / "graph.onnx"))
            profile = Profile.of(describe(graph.graph.input), max_batch=32, max_rows=ROWS)
            path = folder / "fp16.onnx"
            graph.producer_name = "pfedge"
            onnx.save(graph, path)
            for capability in CAPABILITIES:
                started = time.perf_counter()
                size = len(builder.build(path, profile, capability=capability))
                seconds = time.perf_counter() - started
                built.append({"model": name, "target": capability, "bytes": size, "seconds": seconds})
                print(f"{name}  {capability:>5}  {size / 1e6:7.1f} MB  {seconds:6.1f} s", flush=True)
    about = {"machine": machine(), "library": builder.library, "version": builder.version, "engines": built}
    options.out.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
