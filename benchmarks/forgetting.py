"""Milliseconds of a forget and of the first prediction after it.

python benchmarks/forgetting.py [BUNDLE]
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pfedge_runtime import Bundle, Classifier, forget

RUNS = 20
GOLDEN = Path(__file__).parents[1] / "tests" / "formats" / "v1" / "bundle"


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else GOLDEN
    preprocess = Bundle.open(source).manifest.preprocess
    image = np.zeros((1, preprocess.height, preprocess.width, 3), np.uint8)
    times: dict[str, list[float]] = {"forget, durable": [], "first prediction after": [], "a prediction": []}
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as folder:
            path = shutil.copytree(source, Path(folder) / "bundle")
            classifier = Classifier.open(path)
            classifier.predict(image)
            times["forget, durable"].append(forget(path, [str(classifier.bank.class_ids[0])]).milliseconds)
            for name in ("first prediction after", "a prediction"):
                started = time.perf_counter()
                classifier.predict(image)
                times[name].append((time.perf_counter() - started) * 1000)
    print(f"{source}: {len(Bundle.open(source).bank())} rows")
    for name, values in times.items():
        print(f"{name:<24} median {statistics.median(values):7.2f} ms   worst {max(values):7.2f} ms   of {RUNS}")


if __name__ == "__main__":
    main()
