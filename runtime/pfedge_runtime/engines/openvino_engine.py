"""OpenVINO on the CPU, in float32 or, where the processor has it, in bfloat16.

engine = OpenVinoEngine(bundle.graph_path, precision="bf16")
logits, embedding = engine.run(inputs, bank)

OpenVINO's own default is bfloat16 wherever the processor has it; here nobody gets it without asking.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.bank import Bank
from pfedge_runtime.engines.engine import BANK_INPUTS, OUTPUTS, Outputs, last_line
from pfedge_runtime.engines.forking import reopen_after_fork
from pfedge_runtime.engines.threads import usable_threads
from pfedge_runtime.errors import BundleError, MissingExtraError, ProviderError

HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEngine:
    """One compiled model.

    Attributes:
        sessions: how often the graph was compiled: once, whatever is forgotten.
        bindings: how often another bank's tensors were set.
    """

    def __init__(self, graph: Path, *, precision: str = "fp32", threads: int = 0) -> None:
        """Compile the graph; `threads` 0: as many as this process may use.

        Raises:
            MissingExtraError: OpenVINO is not installed.
            ProviderError: this processor has no bfloat16, and it was asked for.
            BundleError: the graph cannot be loaded.
        """
        try:
            import openvino
        except ImportError as error:
            what = "device openvino"
            raise MissingExtraError(what, "openvino") from error
        self._openvino = openvino
        self._graph, self._precision, self._threads = graph, precision, threads
        self._request: Any = None
        self._bank: Bank | None = None
        self._lock = threading.Lock()
        self.sessions = self.bindings = 0
        model = self._load()
        aliases = [value.get_names() for value in model.inputs]  # a tensor has any number of names here
        self._bank_inputs = BANK_INPUTS & set().union(*aliases)
        self._input = next((min(names) for names in aliases if not names & BANK_INPUTS), "")
        self._outputs = OUTPUTS & set().union(*(value.get_names() for value in model.outputs))
        reopen_after_fork(self)

    def forked(self) -> None:
        """Begin without request, bank and lock, see `reopen_after_fork`."""
        self._request = self._bank = None
        self._lock = threading.Lock()

    def run(self, inputs: NDArray[Any], bank: Bank) -> Outputs:
        """Return the outputs for images `[B, H, W, 3]` or features, one column of logits per row in bank order.

        Raises:
            BankError: a head cannot be solved from the bank.
            ProviderError: OpenVINO failed while running.
        """
        tensor = self._openvino.Tensor
        with self._lock:
            if self._request is None:
                self._load()
            if bank is not self._bank:
                rows = {n: np.ascontiguousarray(v) for n, v in bank.graph_inputs().items() if n in self._bank_inputs}
                self._bank = None  # should OpenVINO fail half-way, what is set is nobody's
                for name, value in rows.items():
                    self._request.set_tensor(name, tensor(value, shared_memory=False))
                self._bank = bank
                self.bindings += 1
            try:
                self._request.set_tensor(self._input, tensor(np.ascontiguousarray(inputs), shared_memory=True))
                self._request.infer()
                outputs = {name: self._request.get_tensor(name).data.copy() for name in self._outputs}
            except RuntimeError as error:
                message = f"the graph failed on {len(inputs)} inputs: {last_line(error)}"
                raise ProviderError(message) from error
        return Outputs(outputs["logits"], outputs.get("embedding"))

    def _load(self) -> Any:  # noqa: ANN401 -- a CompiledModel
        core = self._openvino.Core()
        if self._precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            message = "this processor has no bfloat16: use --device openvino"
            raise ProviderError(message)
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": HINTS[self._precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self._threads or usable_threads(),
        }
        try:
            model = core.compile_model(core.read_model(self._graph), "CPU", settings)
        except RuntimeError as error:
            message = f"cannot load {self._graph} in OpenVINO: {last_line(error)}"
            raise BundleError(message) from error
        self._request = model.create_infer_request()
        self.sessions += 1
        return model
