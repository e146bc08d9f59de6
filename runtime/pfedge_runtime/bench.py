"""How fast a bundle is on this machine: latency, throughput, cold start, memory, and what forgetting takes.

    report = bench(Bundle.open("bundle"), device="cpu", batches=(1, 8, 32))
    report.to_json()

Inputs are the real ones of the bundle's self-test. Forgetting is measured on a copy of the bank; the bundle stays as
it is.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.bank import Bank
from pfedge_runtime.bundle import SELFTEST, Bundle
from pfedge_runtime.classifier import Classifier
from pfedge_runtime.device import DeviceState, FileFloor
from pfedge_runtime.engines import Engine, open_engine
from pfedge_runtime.errors import PfedgeError, UsageError
from pfedge_runtime.forgetting import adopt, forget

WARM_UP = 3
FEWEST_ROUNDS = 5
FORGETS = 15

# after a fork Linux counts the parent's memory into ru_maxrss, not into VmHWM
PEAK_BYTES = """
def peak_bytes():
    import pathlib, resource, sys
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if "VmHWM" in line)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
"""
COLD_START = f"""{PEAK_BYTES}
import json, sys, time
import numpy as np
from pfedge_runtime import Classifier
started = time.perf_counter()
classifier = Classifier.open(sys.argv[1], device=sys.argv[2], threads=int(sys.argv[3]))
opened = time.perf_counter()
expected = classifier.bundle.manifest.preprocess
classifier.predict(np.zeros((1, *expected.shape), dtype=expected.dtype))
done = time.perf_counter()
measured = dict(open_ms=(opened - started) * 1e3, first_ms=(done - opened) * 1e3, peak_bytes=peak_bytes())
print(json.dumps(measured))
"""


@dataclass(frozen=True)
class Latency:
    """One call of the graph, repeated.

    Attributes:
        batch: inputs a call.
        rows: rows in the bank.
        p50: milliseconds a call; p95 and p99 likewise.
        throughput: inputs a second, at the median.
        rounds: how many calls were timed.
    """

    batch: int
    rows: int
    p50: float
    p95: float
    p99: float
    throughput: float
    rounds: int


@dataclass(frozen=True)
class ColdStart:
    """A fresh process that opens the bundle and predicts one input.

    Attributes:
        process_ms: from the start of the process to its end.
        open_ms: checking every file and loading the graph.
        first_ms: the first prediction.
        peak_bytes: the most memory the process held.
    """

    process_ms: float
    open_ms: float
    first_ms: float
    peak_bytes: int


@dataclass(frozen=True)
class ForgetTimes:
    """Medians of dropping one row, in milliseconds.

    Attributes:
        in_memory: the smaller bank, and the arrays that the graph takes of it.
        durable: the bank on disk replaced and flushed.
        first_prediction: the first prediction of an open classifier after that, reading the new bank included.
        prediction: one before it.
        sessions: how many sessions the engine had created, before and after.
    """

    in_memory: float
    durable: float
    first_prediction: float
    prediction: float
    sessions: tuple[int, int]


@dataclass(frozen=True)
class BenchReport:
    """All of it, and where it was measured."""

    device: str
    precision: str
    machine: dict[str, Any]
    latency: tuple[Latency, ...]
    cold_start: ColdStart
    forget: ForgetTimes | None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def bench(
    bundle: Bundle,
    *,
    device: str = "cpu",
    threads: int = 0,
    batches: Sequence[int] = (1, 8, 32),
    rows: Sequence[int] = (),
    seconds: float = 2.0,
    on_progress: Callable[[str], None] = lambda _: None,
) -> BenchReport:
    """Measure a bundle.

    Args:
        bundle: an opened bundle.
        device: as `open_engine` takes it.
        threads: of the CPU; 0: as many as this process may use.
        batches: inputs a call.
        rows: numbers of rows in the bank; empty is all, half and one.
        seconds: how long each pair of them is timed, five calls at least.
        on_progress: told what is being done.

    Raises:
        UsageError: a batch below 1, or more rows than the bundle has.
        PfedgeError: the device or the bundle cannot be used.
    """
    bank = bundle.bank()
    counts = sorted(set(rows) or {1, max(1, len(bank) // 2), len(bank)}, reverse=True)
    if min(batches, default=0) < 1 or min(counts) < 1 or max(counts) > len(bank):
        message = f"bench takes batches of at least 1 and 1 to {len(bank)} rows, got {list(batches)} and {counts}"
        raise UsageError(message)
    on_progress("a cold start")
    cold = cold_start(bundle.path, device, threads)
    engine = open_engine(bundle, device, threads=threads, max_batch=max(batches))
    inputs = real_inputs(bundle, max(batches))
    latency = []
    for batch in batches:
        for count in counts:
            on_progress(f"{batch} inputs, {count} rows")
            smaller = bank.select(bank.class_ids[:count])
            latency.append(time_calls(engine, inputs[:batch], smaller, seconds))
    on_progress("forgetting")
    times = time_forgets(bundle, engine) if len(bank) > 1 else None
    return BenchReport(device, bundle.manifest.precision, machine(), tuple(latency), cold, times)


def time_calls(engine: Engine, inputs: NDArray[Any], bank: Bank, seconds: float) -> Latency:
    """Time calls of an engine on the same inputs."""
    for _ in range(WARM_UP):
        engine.run(inputs, bank)
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) < FEWEST_ROUNDS or time.perf_counter() < until:
        started = time.perf_counter()
        engine.run(inputs, bank)
        times.append((time.perf_counter() - started) * 1e3)
    p50, p95, p99 = np.percentile(times, (50, 95, 99)).tolist()
    return Latency(len(inputs), len(bank), p50, p95, p99, len(inputs) / p50 * 1e3, len(times))


def cold_start(path: Path, device: str, threads: int = 0) -> ColdStart:
    """Time a fresh process.

    Raises:
        PfedgeError: the process failed; the message is its own.
    """
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603 -- our own interpreter and program
        [sys.executable, "-W", "ignore", "-c", COLD_START, str(path), device, str(threads)],
        capture_output=True,
        text=True,
        check=False,
    )
    process = (time.perf_counter() - started) * 1e3
    if done.returncode:
        message = f"a fresh process failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
        raise PfedgeError(message)
    return ColdStart(process, **json.loads(done.stdout))


def time_forgets(bundle: Bundle, engine: Engine) -> ForgetTimes:
    """Time dropping the bank's first row, in memory and on a copy of the bundle on the same disk."""
    one = real_inputs(bundle, 1)
    in_memory, durable, first, usual = [], [], [], []
    with tempfile.TemporaryDirectory(prefix=".pfedge-bench-", dir=bundle.path.parent) as folder:
        device = Path(folder) / "device"
        state = DeviceState(device / "state", FileFloor(device / "floor"))
        copied = copy_of(bundle, Path(folder) / "bundle", state)
        adopt(copied)
        before = shutil.copytree(device, Path(folder) / "before")
        kept, class_id = copied.bank_path.read_bytes(), str(copied.bank().class_ids[0])
        classifier = Classifier(copied, engine)
        sessions = getattr(engine, "sessions", 1)
        for _ in range(FORGETS):
            usual.append(_milliseconds(lambda: classifier.predict(one)))
            in_memory.append(_milliseconds(lambda: classifier.bank.drop({int(class_id)}).graph_inputs()))
            durable.append(forget(copied.path, [class_id], state=state).milliseconds)
            first.append(_milliseconds(lambda: classifier.predict(one)))
            shutil.rmtree(device)  # a device that has not forgotten it yet
            shutil.copytree(before, device)
            copied.bank_path.unlink()
            copied.bank_path.write_bytes(kept)
        after = getattr(engine, "sessions", 1)
    return ForgetTimes(
        in_memory=statistics.median(in_memory),
        durable=statistics.median(durable),
        first_prediction=statistics.median(first),
        prediction=statistics.median(usual),
        sessions=(sessions, after),
    )


def copy_of(bundle: Bundle, destination: Path, state: DeviceState) -> Bundle:
    """Return a copy of a bundle on the same disk, for another device; its immutable files are links, where possible."""
    destination.mkdir(parents=True)
    for file in bundle.path.iterdir():
        if file.name in bundle.manifest.files:
            try:
                os.link(file, destination / file.name)
            except OSError:
                shutil.copy(file, destination)
        elif file.is_file() and not file.name.startswith("."):
            shutil.copy(file, destination)
    return Bundle.open(destination, state=state)


def real_inputs(bundle: Bundle, count: int) -> NDArray[Any]:
    """Return `count` inputs of the self-test, repeated as often as it takes."""
    with np.load(bundle.path / SELFTEST, allow_pickle=False) as archive:
        inputs = archive[bundle.manifest.preprocess.input_name]
    return np.ascontiguousarray(inputs[np.arange(count) % len(inputs)])


def machine() -> dict[str, Any]:
    """Describe what was measured on: processor, cores, system, versions; no name and no address."""
    name = platform.processor() or platform.machine()
    flags: set[str] = set()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = dict(line.partition(":")[::2] for line in info.read_text(encoding="utf-8").splitlines())
        name = next((value.strip() for key, value in lines.items() if key.strip() == "model name"), name)
        flags = set(next((value for key, value in lines.items() if key.strip() == "flags"), "").split())
    known = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16")
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "instructions": [flag for flag in known if flag in flags],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _milliseconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3
