"""ONNX Runtime, on the execution provider that was asked for and no other.

engine = OnnxRuntimeEngine(bundle.graph_path)                       # CPU
engine = OnnxRuntimeEngine(bundle.graph_path, device="cuda:1")
logits, embedding = engine.run(inputs, bank)

The session is created once. The bank's tensors stay where the device is from call to call; after a forget, the
smaller ones take their place, as soon as no thread runs on the larger ones any more.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.bank import zeroized_copy
from pfedge_runtime.engines.engine import BANK_INPUTS, GraphInputs, Outputs, first_line
from pfedge_runtime.engines.forking import reopen_after_fork
from pfedge_runtime.engines.profile import Profile
from pfedge_runtime.engines.providers import EP_CONTEXT, PROVIDERS, ExecutionDevice, missing_library, provider_options
from pfedge_runtime.engines.threads import usable_threads
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
            threads: of the CPU; 0: as many as this process may use.
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
        self._graph, self._cache, self._threads = graph, cache, threads
        self._session = self._load()
        self._shapes = {value.name: tuple(value.shape) for value in self._session.get_inputs()}
        self._inputs = set(self._shapes)
        self._outputs = [value.name for value in self._session.get_outputs()]
        self._input = next(iter(self._inputs - BANK_INPUTS), "")
        self._bank: GraphInputs | None = None
        self._rows: dict[str, Any] = {}
        self._running = 0
        self._turn = threading.Condition()
        reopen_after_fork(self)

    def forked(self) -> None:
        """Begin without session, bank and locks, see `reopen_after_fork`."""
        self._session = self._bank = None
        self._rows = {}
        self._running = 0
        self._turn = threading.Condition()

    def run(self, inputs: NDArray[Any], bank: GraphInputs) -> Outputs:
        """Return the outputs for images `[B, H, W, 3]` or features, one column of logits per row in bank order.

        Raises:
            BankError: a head cannot be solved from the bank.
            UsageError: more inputs or rows than the engine was built for.
            ProviderError: the provider failed while running.
        """
        inputs = np.ascontiguousarray(inputs)
        with self._bound(bank) as rows:
            if self._profile is not None:
                self._profile.require(self._input, inputs.shape)
            try:
                binding = self._session.io_binding()
                binding.bind_cpu_input(self._input, inputs)
                for name, (_, value) in rows.items():
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

    @contextmanager
    def _bound(self, bank: GraphInputs) -> Iterator[dict[str, Any]]:
        """Give a bank's tensors, which stay as they are while they are in use.

        Threads with the same bank run at once. One with another bank waits until they are done, because it overwrites.
        """
        with self._turn:
            self._turn.wait_for(lambda: bank is self._bank or not self._running)
            if self._session is None:
                self._session = self._load()
            if bank is not self._bank:
                self._bind(bank)
            rows = self._rows
            self._running += 1
        try:
            yield rows
        finally:
            with self._turn:
                self._running -= 1
                self._turn.notify_all()

    def _bind(self, bank: GraphInputs) -> None:
        """Put a bank's tensors on the device in place of the last one's."""
        values = {name: value for name, value in bank.graph_inputs().items() if name in self._inputs}
        if self._profile is not None:
            for name, value in values.items():
                self._profile.require(name, value.shape)
        self._bank = None  # should the device fail half-way, what lies there is nobody's
        # A copy: on the CPU a tensor is a view of its array, and overwriting it must not reach into a bank. It lies in
        # memory that is zeroized when it is let go, as the bank's own does.
        copies = {name: zeroized_copy(value, range(len(value))) for name, value in values.items()}
        self._rows = {name: self._put(name, copy) for name, copy in copies.items()}
        self._bank = bank
        self.bindings += 1

    def _put(self, name: str, array: NDArray[Any]) -> tuple[NDArray[Any], Any]:
        """Return an array and its tensor on the device; where one of this shape is there, it is overwritten."""
        kept, there = self._rows.get(name, (None, None))
        if there is not None and tuple(there.shape()) == array.shape:
            there.update_inplace(array)
            return kept, there
        where = "cpu" if self._device.name == "cpu" else "cuda"
        return array, self._onnxruntime.OrtValue.ortvalue_from_numpy(array, where, self._device.index)

    def _load(self) -> Any:  # noqa: ANN401 -- an InferenceSession
        session = self._open(self._graph)
        if self._cache is not None and (self._cache / EP_CONTEXT).is_file():
            session = self._open(self._cache / EP_CONTEXT)  # what was built, and can build nothing any more
        return session

    def _open(self, graph: Path) -> Any:  # noqa: ANN401 -- an InferenceSession
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads or usable_threads()
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
