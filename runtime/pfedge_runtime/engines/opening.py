"""From a bundle and the name of a device to what runs the graph there.

engine = open_engine(Bundle.open("bundle"), "openvino:bf16")
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pfedge_runtime.bundle import GRAPH, Bundle
from pfedge_runtime.engines.engine import Engine
from pfedge_runtime.engines.onnxruntime_engine import OnnxRuntimeEngine
from pfedge_runtime.engines.openvino_engine import OpenVinoEngine
from pfedge_runtime.engines.profile import Profile
from pfedge_runtime.engines.providers import PROVIDERS, ExecutionDevice
from pfedge_runtime.files import canonical_json


def open_engine(bundle: Bundle, device: str = "cpu", *, threads: int = 0, max_batch: int = 32) -> Engine:
    """Open a bundle's graph on `cpu`, `cuda[:i]`, `tensorrt[:i]`, `rtx[:i]`, `openvino` or `openvino:bf16`.

    Args:
        bundle: an opened bundle.
        device: one of those.
        threads: of the CPU; 0: as many as this process may use.
        max_batch: the most inputs a call will bring, where engines are built for a range of shapes.

    Raises:
        UsageError: there is no such device.
        MissingExtraError: what it needs is not installed.
        ProviderError: it did not load; there is no falling back to another.
        BundleError: the graph cannot be loaded.
    """
    chosen = ExecutionDevice.parse(device)
    if chosen.name == "openvino":
        return OpenVinoEngine(bundle.graph_path, precision=chosen.precision, threads=threads)
    if not PROVIDERS[chosen.name].prefix:
        return OnnxRuntimeEngine(bundle.graph_path, device=device, threads=threads)
    rows = sum(bool(entry.rows) for entry in bundle.manifest.classes)
    profile = Profile.of(bundle.manifest.inputs, max_batch=max_batch, max_rows=rows)
    key = provider_key(bundle.manifest.files[GRAPH]["sha256"], profile, device)
    cache = bundle.path / "engines" / key
    return OnnxRuntimeEngine(bundle.graph_path, device=device, threads=threads, profile=profile, cache=cache)


def provider_key(graph_digest: str, profile: Profile, device: str) -> str:
    """Return the name of the folder of engines that ONNX Runtime builds for a device, 32 hexadecimal digits.

    It covers the graph, the shapes, the device, the GPUs and the versions of ONNX Runtime and the driver. What TensorRT
    itself puts there is named by it after its own version.
    """
    import onnxruntime

    about = {
        "graph": graph_digest,
        "profile": profile.to_json(),
        "device": device,
        "onnxruntime": onnxruntime.__version__,
        "driver": driver_version(),
        "gpus": gpu_models(),
    }
    return hashlib.sha256(canonical_json(about)).hexdigest()[:32]


def driver_version() -> str:
    """Return the first line of what the NVIDIA driver says of itself, or `none`."""
    try:
        return Path("/proc/driver/nvidia/version").read_text(encoding="utf-8").splitlines()[0]
    except OSError:
        return "none"


def gpu_models() -> list[str]:
    """Return what the NVIDIA driver calls the GPUs that are here; empty without any."""
    found = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = dict(line.partition(":")[::2] for line in file.read_text(encoding="utf-8").splitlines())
        found.append(lines.get("Model", "unknown").strip())
    return found
