"""Write docs/performance.md from the results that the other benchmarks left in benchmarks/results.

python benchmarks/tables/performance.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
BASELINE = "torch eager fp32"
HEAD = """# Performance

Every table is made by `python benchmarks/tables/performance.py` from the JSON that the command above it wrote;
`make bench` runs them all. Contenders take turns in each round; figures are medians. Ratios travel better than
milliseconds.
"""


def read(name: str) -> dict[str, Any] | None:
    """Return a result, or None where that benchmark was not run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def described(machine: dict[str, Any]) -> str:
    """Return a machine in a line."""
    rates = machine.get("gigaflops", {})
    measured = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    rates_text = f"; torch's matrix products reach, in 10^9 operations a second: {measured}" if rates else ""
    return f"{machine['processor']}, {machine['cores']} cores ({', '.join(machine['instructions'])}){rates_text}"


def peers(result: dict[str, Any]) -> list[str]:
    """Return the comparison with other libraries."""
    lines = [
        "## On the CPU, beside others",
        "",
        "`python benchmarks/speed/peers.py`. " + described(result["machine"]) + ".",
        "",
    ]
    fastest = max(result["machine"]["gigaflops"].values())
    for name, model in result["models"].items():
        batches = list(model["milliseconds"])
        lines += [
            f"**{name}**, {result['rows']} rows, milliseconds a call (times faster than torch eager float32):",
            "",
        ]
        lines += ["| | " + " | ".join(f"batch {batch}" for batch in batches) + " |", "|---" * (len(batches) + 1) + "|"]
        contenders = sorted(model["milliseconds"][batches[0]].items(), key=lambda item: -item[1])
        for contender, _ in contenders:
            cells = [_cell(model["milliseconds"][batch], contender) for batch in batches]
            lines.append(f"| {contender} | " + " | ".join(cells) + " |")
        floor = [int(batch) * model["operations"] / fastest / 1e6 for batch in batches]
        cells = [f"{took:.1f}" for took in floor]
        lines += ["| arithmetic floor: all products at the fastest rate above | " + " | ".join(cells) + " |", ""]
        lines += [f"Not run: {contender}: {why}\n" for contender, why in model["not_run"].items()]
    return lines


def _cell(of_batch: dict[str, float], contender: str) -> str:
    took = of_batch[contender]
    return f"{took:.1f} ({of_batch[BASELINE] / took:.1f} x)"


def forgetting(result: dict[str, Any]) -> list[str]:
    """Return what forgetting costs."""
    lines = ["## Forgetting", "", "`pfedge demo --out demo && python benchmarks/speed/forgetting.py demo/run`.", ""]
    lines += ["| a row dropped, ViT-S width | in memory | durable |", "|---|---|---|"]
    for rows, one in result["dropping"].items():
        lines.append(f"| of {int(rows):,} | {one['in_memory_ms']:.2f} ms | {one['durable_ms']:.1f} ms |")
    if other := result.get("alternatives"):
        lines += [
            "",
            f"Against it, on the model of `{result['run']}`:",
            "",
            "| | seconds | needs the data |",
            "|---|---|---|",
        ]
        for name, needs in (
            ("training again", "of all other classes"),
            ("exporting again", "no, but the model as trained"),
            ("building the engine again", "no"),
            ("Selective Synaptic Dampening", "of all classes"),
        ):
            cost = other[name]
            lines.append(f"| {name} | {cost:.1f} | {needs} |" if isinstance(cost, float) else f"| {name} | {cost} | |")
        lines.append(
            "\nDampening is [arXiv 2308.07707](https://arxiv.org/abs/2308.07707), written from the paper; it changed "
            f"{other['dampened share']:.2%} of what was trained."
        )
    return [*lines, ""]


def growth(result: dict[str, Any]) -> list[str]:
    """Return how cost grows."""
    lines = [
        "## Growth",
        "",
        "`python benchmarks/speed/growth.py`: ViT-S/14, `isolated`, one token a class, a process a point.",
        "",
    ]
    for name, series in result["series"].items():
        what = {"rows": "rows (112 px, batch 1)", "batch": "batch (112 px, 8 rows)", "side": "image side in px"}[name]
        lines += [f"| {what} | " + " | ".join(f"{size:,}" for size in series["sizes"]) + " | slope |"]
        lines += ["|---" * (len(series["sizes"]) + 2) + "|"]
        points = series["points"]
        lines += [
            "| ms | " + " | ".join(f"{one['milliseconds']:.1f}" for one in points) + f" | {series['slope_time']:.2f} |"
        ]
        peaks = " | ".join(f"{one['peak_bytes'] / 2**20:.0f}" for one in points)
        lines += [f"| MiB, peak | {peaks} | {series['slope_memory']:.2f} |", ""]
    return [*lines, "A slope p means `cost ~ size^p` over the upper half of the points.", ""]


def startup(result: dict[str, Any]) -> list[str]:
    """Return what a cold start costs."""
    lines = [
        "## Start-up",
        "",
        "`python benchmarks/speed/startup.py`: whole processes, one image, ViT-S/14 at 112 px.",
        "",
    ]
    lines += ["| | seconds | peak memory, MiB |", "|---|---|---|"]
    for name, one in result["processes"].items():
        lines.append(f"| {name} | {one['seconds']:.2f} | {one['peak_bytes'] / 2**20:.0f} |")
    return [*lines, ""]


def engines(result: dict[str, Any]) -> list[str]:
    """Return the engines that were built."""
    title = f"## Engines of {result['library']} {result['version']}, float16, built without a GPU"
    lines = [title, "", "`python benchmarks/speed/engines.py`.", "", "| | target | MB | seconds |", "|---|---|---|---|"]
    lines += [
        f"| {one['model']} | {one['target']} | {one['bytes'] / 1e6:.1f} | {one['seconds']:.1f} |"
        for one in result["engines"]
    ]
    return [*lines, ""]


def gpu(result: dict[str, Any] | None) -> list[str]:
    """Return what a GPU gave, or that none did."""
    lines = ["## On a GPU", "", "`make gpu` on a machine that has one, for a bundle of your own (its `--help`).", ""]
    if result is None:
        return [*lines, "No such run has been committed: nothing here has been executed on a GPU.", ""]
    lines += [
        f"{', '.join(result['machine']['gpus'])}:",
        "",
        "```json",
        json.dumps(result["parts"], indent=1),
        "```",
        "",
    ]
    return lines


def page() -> str:
    """Return the page."""
    lines = HEAD.splitlines()
    for name, section in (
        ("peers", peers),
        ("forgetting", forgetting),
        ("growth", growth),
        ("startup", startup),
        ("engines", engines),
    ):
        if (result := read(name)) is not None:
            lines += ["", *section(result)]
    text = "\n".join([*lines, "", *gpu(read("gpu"))])
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.rstrip() + "\n"


def main() -> None:
    """Write the page."""
    (ROOT / "docs" / "performance.md").write_text(page())


if __name__ == "__main__":
    main()
