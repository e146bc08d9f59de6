"""How long a user waits: `pfedge --help`, and `pfedge predict` of one image from a cold start.

python benchmarks/startup.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

RUNS = 15
GOLDEN = Path(__file__).parents[1] / "tests" / "formats" / "v1" / "bundle"


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PFEDGE_BUNDLE": str(GOLDEN)})
    return time.perf_counter() - started


def main() -> None:
    pfedge = str(Path(sys.executable).parent / "pfedge")
    image = Path("/tmp" if os.name != "nt" else ".") / "pfedge-startup.png"  # noqa: S108 -- a picture of nothing
    Image.new("RGB", (14, 14)).save(image)
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "pfedge --help": [pfedge, "--help"],
        "pfedge predict (one image)": [pfedge, "predict", str(image)],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS):  # in turns, so that all see the same noise
        for name, command in commands.items():
            times[name].append(seconds(command))
    image.unlink()
    for name, values in times.items():
        print(f"{name:<28} median {statistics.median(values):.3f} s   best {min(values):.3f} s   of {RUNS}")


if __name__ == "__main__":
    main()
