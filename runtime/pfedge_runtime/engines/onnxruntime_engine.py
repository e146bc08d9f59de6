"""ONNX Runtime, on the execution provider that was asked for and no other.

engine = OnnxRuntimeEngine(bundle.graph_path)                       # CPU
engine = OnnxRuntimeEngine(bundle.graph_path, device="cuda:1")
logits, embedding = engine.run(inputs, bank)

The session is created once. The bank's tensors stay where the device is from call to call; after a forget, the
smaller ones take their place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.engines.engine import BANK_INPUTS, GraphInputs, Outputs, first_line
from pfedge_runtime.engines.profile import Profile
from pfedge_runtime.engines.providers import EP_CONTEXT, PROVIDERS, ExecutionDevice, missing_library, provider_options
from pfedge_runtime.errors import BundleError, MissingExtraError, ProviderError


class OnnxRuntimeEngine:
    """One session.

    Attributes:
        sessions: how many sessions were created: one, whatever is forgotten.
        bindings: how often another bank's tensors were put on the device.
    """

    def __init__(
        self,
        graph: Path,
        *,
        device: str = "cpu",
        threads: int = 0,
        profile: Profile | None = None,
        cache: Path | None = None,
    ) -> None:
        """Load the graph.

        Args:
            graph: the ONNX file.
            device: `cpu`, `cuda[:i]`, `tensorrt[:i]` or `rtx[:i]`.
            threads: of the CPU; 0 lets ONNX Runtime choose.
            profile: TensorRT: the shapes to build for.
            cache: TensorRT: folder of built engines; made where it is missing.

        Raises:
            UsageError: the device is not known.
            MissingExtraError: no ONNX Runtime is installed.
            ProviderError: the execution provider did not load.
            BundleError: the graph cannot be loaded.
        """
        self._device = ExecutionDevice.parse(device)
        try:
            import onnxruntime
        except ImportError as error:
            what = "running a graph (ONNX Runtime)"
            raise MissingExtraError(what, PROVIDERS[self._device.name].extra) from error
        self._onnxruntime = onnxruntime
        self._provider = PROVIDERS[self._device.name]
        self._options = provider_options(self._device, profile, cache)
        self._profile = profile
        self.sessions = self.bindings = 0
        if self._provider.name not in onnxruntime.get_available_providers():
            needs = f" and {self._provider.needs}" if self._provider.needs else ""
            message = (
                f"{self._provider.name} is not in the installed ONNX Runtime; device {device} needs "
                f"pip install 'pfedge[{self._provider.extra}]'{needs}"
            )
            raise ProviderError(message)
        if cache is not None:
            cache.mkdir(parents=True, exist_ok=True)
        self._session = self._open(graph, threads)
        if cache is not None and (cache / EP_CONTEXT).is_file():  # what was built, and can build nothing any more
            self._session = self._open(cache / EP_CONTEXT, threads)
        self._shapes = {value.name: tuple(value.shape) for value in self._session.get_inputs()}
        self._inputs = set(self._shapes)
        self._outputs = [value.name for value in self._session.get_outputs()]
        self._input = next(iter(self._inputs - BANK_INPUTS), "")
        self._bank: GraphInputs | None = None
        self._rows: dict[str, Any] = {}

    def run(self, inputs: NDArray[Any], bank: GraphInputs) -> Outputs:
        """Return the outputs for images `[B, H, W, 3]` or features, one column of logits per row in bank order.

        Raises:
            BankError: a head cannot be solved from the bank.
            UsageError: more inputs or rows than the engine was built for.
            ProviderError: the provider failed while running.
        """
        inputs = np.ascontiguousarray(inputs)
        if bank is not self._bank:
            self._bind(bank)
        if self._profile is not None:
            self._profile.require(self._input, inputs.shape)
        try:
            binding = self._session.io_binding()
            binding.bind_cpu_input(self._input, inputs)
            for name, (_, value) in self._rows.items():
                binding.bind_ortvalue_input(name, value)
            for name in self._outputs:
                binding.bind_output(name)
            self._session.run_with_iobinding(binding)
            outputs = dict(zip(self._outputs, binding.copy_outputs_to_cpu(), strict=True))
        except Exception as error:  # ONNX Runtime's errors share no base class
            message = f"the graph failed on {len(inputs)} inputs: {first_line(error)}"
            raise ProviderError(message) from error
        return Outputs(outputs["logits"], outputs.get("embedding"))

    @property
    def input_shape(self) -> tuple[Any, ...]:
        """The shape of the input, symbolic dimensions by name."""
        return self._shapes[self._input]

    def shape_of(self, name: str) -> tuple[Any, ...]:
        """Return the shape of a graph input, symbolic dimensions by name."""
        return self._shapes[name]

    def _bind(self, bank: GraphInputs) -> None:
        """Put a bank's tensors on the device in place of the last one's."""
        rows = {}
        for name, value in bank.graph_inputs().items():
            if self._profile is not None:
                self._profile.require(name, value.shape)
            if name in self._inputs:
                array = np.ascontiguousarray(value)
                # the array stays beside it: on the CPU a tensor may be a view of its memory
                rows[name] = array, self._put(name, array)
        self._rows, self._bank = rows, bank
        self.bindings += 1

    def _put(self, name: str, array: NDArray[Any]) -> Any:  # noqa: ANN401 -- an OrtValue
        """Return a tensor on the device; where one of this shape is there, its memory is overwritten."""
        _, there = self._rows.get(name, (None, None))
        if there is not None and tuple(there.shape()) == array.shape:
            there.update_inplace(array)
            return there
        where = "cpu" if self._device.name == "cpu" else "cuda"
        return self._onnxruntime.OrtValue.ortvalue_from_numpy(array, where, self._device.index)

    def _open(self, graph: Path, threads: int) -> Any:  # noqa: ANN401 -- an InferenceSession
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        provider = self._provider
        try:
            session = self._onnxruntime.InferenceSession(graph, options, providers=[(provider.name, self._options)])
        except Exception as error:  # as above
            message = f"cannot load {graph} on {provider.name}: {first_line(error)}"
            raise BundleError(message) from error
        loaded = session.get_providers()[0]
        if loaded != provider.name:
            folder = Path(self._onnxruntime.__file__).parent / "capi"
            why = missing_library(provider, folder) or f"it needs {provider.needs}, and a GPU"
            message = f"{provider.name} was asked for and did not load (ONNX Runtime chose {loaded}): {why}"
            raise ProviderError(message)
        session.disable_fallback()
        self.sessions += 1
        return session
