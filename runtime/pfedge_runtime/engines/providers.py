"""ONNX Runtime's execution providers, by the names that pfedge gives to devices.

    device = ExecutionDevice.parse("tensorrt:1")
    options = provider_options(device, profile, cache=Path("bundle/engines/..."))

A provider that is listed may still lack a library of its own: `missing_library` asks the system's loader which.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from pathlib import Path

from pfedge_runtime.engines.profile import Profile, Shapes
from pfedge_runtime.errors import UsageError


@dataclass(frozen=True)
class Provider:
    """One execution provider.

    Attributes:
        name: what ONNX Runtime calls it.
        extra: the extra of pfedge that brings it.
        needs: what it needs beside that, in words.
        library: the library that carries it, without prefix and suffix; empty where it is built in.
        prefix: of its options about shapes; empty where it has none.
    """

    name: str
    extra: str
    needs: str = ""
    library: str = ""
    prefix: str = ""


PROVIDERS = {
    "cpu": Provider("CPUExecutionProvider", "cpu"),
    "cuda": Provider("CUDAExecutionProvider", "gpu", "CUDA 13 and cuDNN 9", "onnxruntime_providers_cuda"),
    "tensorrt": Provider(
        "TensorrtExecutionProvider",
        "gpu",
        "CUDA 13, cuDNN 9 and TensorRT 10 (libnvinfer.so.10)",
        "onnxruntime_providers_tensorrt",
        "trt_",
    ),
    "rtx": Provider(
        "NvTensorRTRTXExecutionProvider",
        "gpu",
        "an ONNX Runtime built with TensorRT for RTX",
        "onnxruntime_providers_nv_tensorrt_rtx",
        "nv_",
    ),
}
OPENVINO_PRECISIONS = ("fp32", "bf16")
KNOWN = "cpu, cuda[:i], tensorrt[:i], rtx[:i], openvino or openvino:bf16"


@dataclass(frozen=True)
class ExecutionDevice:
    """Where a graph runs.

    Attributes:
        name: a key of `PROVIDERS`, or `openvino`.
        index: which GPU.
        precision: of `openvino`: `fp32` or `bf16`.
    """

    name: str
    index: int = 0
    precision: str = "fp32"

    @classmethod
    def parse(cls, text: str) -> ExecutionDevice:
        """Read `cpu`, `cuda:1`, `openvino:bf16`.

        Raises:
            UsageError: there is no such device.
        """
        name, _, detail = text.partition(":")
        if name == "openvino" and (not detail or detail in OPENVINO_PRECISIONS):
            return cls(name, precision=detail or "fp32")
        if name in PROVIDERS and (not detail or (detail.isdecimal() and name != "cpu")):
            return cls(name, index=int(detail or 0))
        message = f"unknown device {text!r}; known are {KNOWN}"
        raise UsageError(message)


def provider_options(
    device: ExecutionDevice, profile: Profile | None = None, cache: Path | None = None
) -> dict[str, str]:
    """Return the options that ONNX Runtime takes for a device.

    Args:
        device: not `openvino`.
        profile: the shapes an engine is built for; TensorRT needs them all, or it builds again for every new one.
        cache: folder of built engines.
    """
    prefix = PROVIDERS[device.name].prefix
    options = {} if device.name == "cpu" else {"device_id": str(device.index)}
    if prefix and profile is not None:
        for which, shapes in (("min", profile.smallest), ("opt", profile.usual), ("max", profile.largest)):
            options[f"{prefix}profile_{which}_shapes"] = _spelled(shapes)
    if cache is not None and device.name == "tensorrt":
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
            "trt_dump_ep_context_model": "1",
            "trt_ep_context_file_path": str(cache / EP_CONTEXT),
        }
    if cache is not None and device.name == "rtx":
        options["nv_runtime_cache_path"] = str(cache)
    return options


EP_CONTEXT = "context.onnx"


def _spelled(shapes: Shapes) -> str:
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())


def missing_library(provider: Provider, folder: Path) -> str:
    """Return what the system's loader says is missing for a provider's library in ONNX Runtime's `folder`, or ''."""
    file = f"{provider.library}.dll" if sys.platform == "win32" else f"lib{provider.library}.so"
    if not provider.library:
        return ""
    if not (folder / file).is_file():
        return f"{file} is not among ONNX Runtime's own files"
    try:
        ctypes.CDLL(str(folder / file))
    except OSError as error:
        return str(error)
    return ""
