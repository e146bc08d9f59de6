"""Everything that takes an NVIDIA GPU, in one run: `make gpu`. Without one it says so and exits 0.

    python benchmarks/speed/gpu.py BUNDLE --out benchmarks/results/gpu.json

For a bundle in float16 with a static graph (`pfedge export RUN --to tensorrt-rtx --static-batch 1`): ONNX Runtime on
CUDA and on TensorRT, the static graph under a CUDA graph, the engine that TensorRT for RTX built and, with `--run RUN`,
torch on the same GPU; each compared with the self-test's logits and timed; a forget under each, which must open no
session and build nothing. What cannot be loaded is named with its error and left out; nothing falls back.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pfedge.guarantees import load_model
from pfedge.runs import Run
from pfedge_runtime.bank import Bank
from pfedge_runtime.bench import machine, real_inputs, time_calls
from pfedge_runtime.bundle import Bundle
from pfedge_runtime.engines import (
    EngineAbout,
    Outputs,
    PaddedBank,
    gpu_models,
    list_engines,
    open_engine,
    read_engine,
    run_selftest,
)
from pfedge_runtime.errors import PfedgeError

ROOT = Path(__file__).parents[2]
BATCHES = (1, 8, 32)
WARM_UP = 3
REPLAYS = 200


class RtxEngine:
    """The engine that TensorRT for RTX built, executed on torch's CUDA memory."""

    def __init__(self, bundle: Bundle) -> None:
        """Load the engine of this GPU's compute capability.

        Raises:
            PfedgeError: there is none in the bundle, it is damaged, or TensorRT refuses it.
        """
        import tensorrt_rtx as trt

        target = ".".join(map(str, torch.cuda.get_device_capability()))
        fitting = [one for one in list_engines(bundle.path) if one["target"] == target]
        if not fitting:
            message = f"{bundle.path} has no engine for compute capability {target}"
            raise PfedgeError(message)
        about = EngineAbout(**{name: value for name, value in fitting[0].items() if name != "sha256"})
        self._engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(
            read_engine(bundle.path, about)
        )
        if self._engine is None:
            message = f"TensorRT for RTX {trt.__version__} refuses the engine for {target}"
            raise PfedgeError(message)
        self._context = self._engine.create_execution_context()
        self._stream = torch.cuda.Stream()
        self._image = bundle.manifest.preprocess.input_name
        self._outputs = list(bundle.manifest.outputs)

    def run(self, inputs: np.ndarray[Any, Any], bank: Bank) -> Outputs:
        """Return the outputs, as every engine does."""
        arrays = {self._image: inputs, **bank.graph_inputs()}
        buffers = {name: torch.from_numpy(np.array(array)).cuda() for name, array in arrays.items()}
        for name, tensor in buffers.items():
            self._context.set_input_shape(name, tuple(tensor.shape))
        for name in self._outputs:
            buffers[name] = torch.empty(tuple(self._context.get_tensor_shape(name)), device="cuda")
        for name, tensor in buffers.items():
            self._context.set_tensor_address(name, tensor.data_ptr())
        self._context.execute_async_v3(self._stream.cuda_stream)
        self._stream.synchronize()
        return Outputs(buffers["logits"].cpu().numpy())


class TorchEngine:
    """The module that was exported, in torch on the GPU with float16 products."""

    def __init__(self, run: Path) -> None:
        """Load the run."""
        self._module = load_model(Run.open(run)).deployable().cuda()

    @torch.inference_mode()
    def run(self, inputs: np.ndarray[Any, Any], bank: Bank) -> Outputs:
        """Return the outputs, as every engine does."""
        parts = [torch.from_numpy(np.array(part)).cuda() for part in (inputs, *bank.graph_inputs().values())]
        with torch.autocast("cuda", torch.float16):
            outputs = self._module(*parts)
        return Outputs((outputs if isinstance(outputs, torch.Tensor) else outputs[0]).float().cpu().numpy())


def on_engine(open_it: Callable[[], Any], bundle: Bundle) -> dict[str, Any]:
    """Compare, time, and forget under an engine."""
    engine, bank = open_it(), bundle.bank()
    outcome = run_selftest(bundle, engine, precision="fp16")
    latency = {str(b): vars(time_calls(engine, real_inputs(bundle, b), bank, 2.0)) for b in BATCHES}
    sessions = getattr(engine, "sessions", None)
    started = time.perf_counter()
    engine.run(real_inputs(bundle, 1), bank.drop({bank.class_ids[0]}))
    return {
        "selftest": vars(outcome) | {"passed": outcome.passed},
        "latency": latency,
        "first_after_forget_ms": (time.perf_counter() - started) * 1e3,
        "sessions_opened_by_forget": None if sessions is None else engine.sessions - sessions,
    }


def under_cuda_graph(bundle: Bundle) -> dict[str, Any]:
    """Capture the static graph on CUDA, replay it, and forget by overwriting the rows in place."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        bundle.static_graph_path, providers=[("CUDAExecutionProvider", {"enable_cuda_graph": "1"})]
    )
    if session.get_providers()[0] != "CUDAExecutionProvider":
        message = f"CUDA did not load: {session.get_providers()}"
        raise PfedgeError(message)
    bank, shapes = bundle.bank(), {value.name: value.shape for value in session.get_inputs()}
    feed = {**PaddedBank(bank, shapes["head_bias"][0]).graph_inputs()}
    image = next(iter(set(shapes) - set(feed)))
    feed[image] = real_inputs(bundle, shapes[image][0])
    values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(part, "cuda", 0) for name, part in feed.items()}
    binding = session.io_binding()
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    outputs = {
        value.name: onnxruntime.OrtValue.ortvalue_from_shape_and_type(value.shape, np.float32, "cuda", 0)
        for value in session.get_outputs()
    }
    for name, value in outputs.items():
        binding.bind_ortvalue_output(name, value)
    for _ in range(WARM_UP):
        session.run_with_iobinding(binding)
    times = []
    for _ in range(REPLAYS):
        started = time.perf_counter()
        session.run_with_iobinding(binding)
        times.append((time.perf_counter() - started) * 1e3)
    smaller = PaddedBank(bank.drop({bank.class_ids[0]}), shapes["head_bias"][0]).graph_inputs()
    started = time.perf_counter()
    for name, part in smaller.items():
        values[name].update_inplace(part)
    session.run_with_iobinding(binding)
    forgot = (time.perf_counter() - started) * 1e3
    masked = outputs["logits"].numpy()[:, len(bank) - 1]
    return {
        "p50": statistics.median(times),
        "forget_ms": forgot,
        "masked_is_minus_inf": bool(np.isneginf(masked).all()),
    }


def main() -> None:
    """Run what this machine can, and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--run", type=Path, help="the run that was exported: torch is timed beside it")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "gpu.json")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU: torch sees none, so nothing was run and nothing was written")
        return
    bundle = Bundle.open(options.bundle)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "ONNX Runtime, CUDA": lambda: on_engine(lambda: open_engine(bundle, "cuda"), bundle),
        "ONNX Runtime, TensorRT": lambda: on_engine(lambda: open_engine(bundle, "tensorrt"), bundle),
        "TensorRT for RTX, engine": lambda: on_engine(lambda: RtxEngine(bundle), bundle),
        "static graph under a CUDA graph": lambda: under_cuda_graph(bundle),
    }
    if options.run:
        parts["torch, float16"] = lambda: on_engine(lambda: TorchEngine(options.run), bundle)
    result: dict[str, Any] = {"machine": machine() | {"gpus": gpu_models()}, "torch": torch.__version__, "parts": {}}
    for name, part in parts.items():
        try:
            result["parts"][name] = part()
        except Exception as error:  # whatever a missing library or an old GPU raises stands in the report
            result["parts"][name] = {"failed": f"{type(error).__name__}: {error}"}
        print(name, json.dumps(result["parts"][name]), file=sys.stderr, flush=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
