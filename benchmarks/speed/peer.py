"""One contender of `peers.py`, in a process of its own: loads, then times one call for every line it is sent.

python benchmarks/speed/peer.py NAME FOLDER    # each line on its input is a batch size; it answers in milliseconds
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Call = Callable[[np.ndarray[Any, Any]], Any]


def torch_module(folder: Path) -> tuple[Any, list[Any]]:
    """Return the module that was exported, and the bank's tensors."""
    import torch

    from pfedge.backbone import load_backbone
    from pfedge.guarantees.shared import PromptGraph
    from pfedge_runtime.bank import PromptBank

    bank = PromptBank.load(folder / "bank.safetensors").graph_inputs()
    return PromptGraph(load_backbone(str(folder / "backbone"))).eval(), [torch.from_numpy(v) for v in bank.values()]


def torch_call(folder: Path, kind: str) -> Call:
    """Return a call of torch: `eager`, `bf16` (autocast) or `compile`."""
    import torch

    module, rows = torch_module(folder)
    if kind == "compile":
        module = torch.compile(module)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=kind == "bf16")

    def call(images: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401 -- a tensor
        with torch.inference_mode(), autocast:
            return module(torch.from_numpy(images), *rows)

    return call


def optimum_call(folder: Path) -> Call:
    """Return a call of optimum-onnx: the plain backbone, without rows, on normalised pixels."""
    import torch
    from optimum.onnxruntime import ORTModelForFeatureExtraction

    model = ORTModelForFeatureExtraction.from_pretrained(folder / "backbone", export=True)

    def call(images: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401 -- a tensor
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        return model(pixel_values=pixels).last_hidden_state

    return call


def plain_call(folder: Path, kind: str) -> Call:
    """Return a call of a library as its first example shows it: `onnxruntime` or `openvino`, on our graph."""
    from pfedge_runtime.bank import PromptBank

    rows = PromptBank.load(folder / "bank.safetensors").graph_inputs()
    if kind == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / "graph.onnx", providers=["CPUExecutionProvider"])
        return lambda images: session.run(["logits"], {"images": images, **rows})
    import openvino

    model = openvino.Core().compile_model(folder / "graph.onnx", "CPU")
    return lambda images: model({"images": images, **rows})


def pfedge_call(folder: Path, graph: str, device: str) -> Call:
    """Return a call of pfedge's runtime."""
    from pfedge_runtime.bank import PromptBank
    from pfedge_runtime.engines import OnnxRuntimeEngine, OpenVinoEngine

    bank, path = PromptBank.load(folder / "bank.safetensors"), folder / graph
    name, _, precision = device.partition(":")
    engine = OpenVinoEngine(path, precision=precision or "fp32") if name == "openvino" else OnnxRuntimeEngine(path)
    return lambda images: engine.run(images, bank)


CONTENDERS: dict[str, Callable[[Path], Call]] = {
    "torch eager fp32": lambda folder: torch_call(folder, "eager"),
    "torch bf16 (autocast)": lambda folder: torch_call(folder, "bf16"),
    "torch.compile fp32": lambda folder: torch_call(folder, "compile"),
    "optimum-onnx fp32 (no rows)": optimum_call,
    "ONNX Runtime fp32": lambda folder: plain_call(folder, "onnxruntime"),
    "OpenVINO default": lambda folder: plain_call(folder, "openvino"),
    "pfedge fp32, cpu": lambda folder: pfedge_call(folder, "graph.onnx", "cpu"),
    "pfedge int8 dynamic, cpu": lambda folder: pfedge_call(folder, "dynamic.onnx", "cpu"),
    "pfedge int8 tensor, cpu": lambda folder: pfedge_call(folder, "tensor.onnx", "cpu"),
    "pfedge int8 static, cpu": lambda folder: pfedge_call(folder, "static.onnx", "cpu"),
    "pfedge fp32, openvino": lambda folder: pfedge_call(folder, "graph.onnx", "openvino"),
    "pfedge bf16, openvino:bf16": lambda folder: pfedge_call(folder, "graph.onnx", "openvino:bf16"),
    "pfedge int8 static, openvino": lambda folder: pfedge_call(folder, "static.onnx", "openvino"),
}


def main() -> None:
    """Load and answer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("folder", type=Path, help="that `peers.py` made")
    options = parser.parse_args()
    images = np.load(options.folder / "images.npy")
    call = CONTENDERS[options.name](options.folder)
    print("ready", flush=True)
    for line in sys.stdin:
        batch = np.ascontiguousarray(images[: int(line)])
        started = time.perf_counter()
        call(batch)
        print((time.perf_counter() - started) * 1e3, flush=True)


if __name__ == "__main__":
    main()
