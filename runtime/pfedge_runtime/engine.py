"""Running the graph. One small protocol, one adapter per back end.

engine = OnnxRuntimeEngine(bundle.graph_path, device="cpu")
logits, embedding = engine.run(inputs, bank)      # images uint8 [B, H, W, 3], or audio features -> float32 [B, R]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.decision import Bank
from pfedge_runtime.errors import BundleError, MissingExtraError, ProviderError, UsageError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
BANK_INPUTS = {"prompts", "head_weight", "head_bias"}


class Outputs(NamedTuple):
    """What the graph gives: logits float32 `[B, R]`, and where it has one the embedding float32 `[B, E]`."""

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32] | None = None


class Engine(Protocol):
    """Anything that can evaluate the graph."""

    def run(self, inputs: NDArray[Any], bank: Bank) -> Outputs:
        """Return the outputs for images `[B, H, W, 3]` or features, one column of logits per row in bank order."""


class OnnxRuntimeEngine:
    """ONNX Runtime on one execution provider; never another one than was asked for."""

    def __init__(self, graph: Path, *, device: str = "cpu", threads: int = 0) -> None:
        """Load the graph; `threads` 0 lets ONNX Runtime choose.

        Raises:
            UsageError: the device is not known.
            MissingExtraError: no ONNX Runtime is installed.
            ProviderError: the execution provider did not load.
            BundleError: the graph cannot be loaded.
        """
        name, _, index = device.partition(":")
        if name not in PROVIDERS or (index and not index.isdecimal()):
            message = f"unknown device {device!r}; known are {', '.join(PROVIDERS)} (cuda:1 for the second)"
            raise UsageError(message)
        try:
            import onnxruntime
        except ImportError as error:
            what = "running a graph (ONNX Runtime)"
            raise MissingExtraError(what, "gpu" if name == "cuda" else "cpu") from error
        provider = PROVIDERS[name]
        settings: dict[str, Any] = {"device_id": int(index)} if index else {}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        if provider not in onnxruntime.get_available_providers():
            message = (
                f"{provider} is not in the installed ONNX Runtime; device {device} needs pip install 'pfedge[gpu]'"
            )
            raise ProviderError(message)
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=[(provider, settings)])
        except Exception as error:  # ONNX Runtime's errors share no base class
            message = f"cannot load {graph} on {provider}: {_first_line(error)}"
            raise BundleError(message) from error
        loaded = self._session.get_providers()[0]
        if loaded != provider:
            message = f"device {device} was asked for, but {provider} did not load (got {loaded}); check its libraries"
            raise ProviderError(message)
        self._session.disable_fallback()
        self._inputs = {value.name for value in self._session.get_inputs()}
        self._outputs = [value.name for value in self._session.get_outputs()]
        self._input = next(iter(self._inputs - BANK_INPUTS), "")

    def run(self, inputs: NDArray[Any], bank: Bank) -> Outputs:
        """Return the outputs for images `[B, H, W, 3]` or features, one column of logits per row in bank order.

        Raises:
            BankError: a head cannot be solved from the bank.
            ProviderError: the provider failed while running.
        """
        feed: dict[str, NDArray[Any]] = {self._input: inputs, **bank.graph_inputs()}
        feed = {name: value for name, value in feed.items() if name in self._inputs}
        try:
            outputs = dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))
        except Exception as error:  # as above
            message = f"the graph failed on {len(inputs)} inputs: {_first_line(error)}"
            raise ProviderError(message) from error
        return Outputs(outputs["logits"], outputs.get("embedding"))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
