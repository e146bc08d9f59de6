from __future__ import annotations

from pathlib import Path

import pytest

from pfedge_runtime.engines import ExecutionDevice, Profile
from pfedge_runtime.engines.providers import PROVIDERS, Provider, missing_library, provider_options
from pfedge_runtime.errors import UsageError

INPUTS = {
    "images": {"dtype": "uint8", "shape": ["B", 28, 28, 3]},
    "prompts": {"dtype": "float32", "shape": ["P", 1, 64]},
    "head_weight": {"dtype": "float32", "shape": ["R", 64]},
    "head_bias": {"dtype": "float32", "shape": ["R"]},
}


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("cpu", ExecutionDevice("cpu")),
        ("cuda:1", ExecutionDevice("cuda", 1)),
        ("rtx", ExecutionDevice("rtx")),
        ("openvino", ExecutionDevice("openvino", precision="fp32")),
        ("openvino:bf16", ExecutionDevice("openvino", precision="bf16")),
    ],
)
def test_devices_are_read(text, device):
    assert ExecutionDevice.parse(text) == device


@pytest.mark.parametrize("text", ["tpu", "cpu:1", "cuda:x", "openvino:int8", "", ":"])
def test_unknown_devices_are_refused(text):
    with pytest.raises(UsageError, match="unknown device"):
        ExecutionDevice.parse(text)


def test_tensorrt_is_told_every_shape_and_keeps_its_engines():
    profile = Profile.of(INPUTS, max_batch=16, max_rows=8)
    options = provider_options(ExecutionDevice.parse("tensorrt:2"), profile, Path("engines/k"))
    assert options["device_id"] == "2"
    assert options["trt_profile_min_shapes"] == "images:1x28x28x3,prompts:1x1x64,head_weight:1x64,head_bias:1"
    assert options["trt_profile_opt_shapes"] == "images:1x28x28x3,prompts:8x1x64,head_weight:8x64,head_bias:8"
    assert options["trt_profile_max_shapes"] == "images:16x28x28x3,prompts:8x1x64,head_weight:8x64,head_bias:8"
    assert options["trt_ep_context_file_path"] == str(Path("engines/k/context.onnx"))
    rtx = provider_options(ExecutionDevice.parse("rtx"), profile, Path("engines/k"))
    assert rtx["nv_profile_max_shapes"] == options["trt_profile_max_shapes"]
    assert provider_options(ExecutionDevice.parse("cpu"), profile) == {}


def test_a_missing_library_is_named(tmp_path):
    import sys

    cuda = PROVIDERS["cuda"]
    assert "onnxruntime_providers_cuda" in missing_library(cuda, tmp_path)
    if sys.platform == "linux":
        (tmp_path / f"lib{cuda.library}.so").write_bytes(b"no library")
        assert "libonnxruntime_providers_cuda.so" in missing_library(cuda, tmp_path)
    assert missing_library(Provider("CPUExecutionProvider", "cpu"), tmp_path) == ""
