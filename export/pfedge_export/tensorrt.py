"""TensorRT engines, by either of its Python modules: `tensorrt` and `tensorrt_rtx` have one interface.

    builder = EngineBuilder("tensorrt-rtx")
    build_engines(Bundle.open("bundle"), builder, capabilities=("8.6", "8.9"))

TensorRT for RTX builds ahead of time for GPUs that are not there; standard TensorRT builds for the GPU it runs on. The
network is strongly typed: it computes in what the graph says, and float16 is made explicit in the graph. One
optimisation profile covers all dynamic inputs, from one row to all, so that no forget needs another engine.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import onnx

from pfedge_export.graph import OLDEST_OPSET, ExportError
from pfedge_runtime.arguments import Texts, as_texts
from pfedge_runtime.bundle import GRAPH, Bundle
from pfedge_runtime.engines import (
    ENGINES,
    PLAN,
    EngineAbout,
    Profile,
    driver_version,
    gpu_models,
    read_engine,
    write_engine,
)
from pfedge_runtime.errors import MissingExtraError, UsageError

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
NEWEST_OPSET = 22  # above it attention may be one operator, which does not build in float32
CAPABILITIES = ("8.6", "8.9", "12.0")  # what `tensorrt-rtx` builds for unless told otherwise


class EngineBuilder:
    """Builds engines with one of the two libraries.

    Attributes:
        library: `tensorrt` or `tensorrt-rtx`.
        version: of that library.
    """

    def __init__(self, library: str) -> None:
        """Load the library.

        Raises:
            UsageError: there is no such library.
            MissingExtraError: it is not installed.
        """
        if library not in MODULES:
            message = f"unknown target {library!r}; known are onnx, {', '.join(MODULES)}"
            raise UsageError(message)
        self.library = library
        try:
            self._trt: Any = importlib.import_module(MODULES[library])
        except ImportError as error:
            what = f"building engines for {library}"
            raise MissingExtraError(what, library) from error
        self.version: str = self._trt.__version__
        self._errors: list[str] = []
        self._logger = _logger(self._trt, self._errors)

    def build(self, graph: Path, profile: Profile, *, capability: str | None = None) -> bytes:
        """Return the serialised engine of an ONNX graph that pfedge exported.

        Args:
            graph: the ONNX file.
            profile: the shapes to build for.
            capability: the GPU's compute capability, such as `8.6` (`tensorrt-rtx` only); None is the GPU that is here.

        Raises:
            ExportError: the graph is not one of pfedge, or TensorRT refuses it.
            UsageError: there is no such compute capability.
        """
        require_ours(graph)
        trt = self._trt
        self._errors.clear()
        builder = trt.Builder(self._logger)
        if builder is None:
            self._fail("start")
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse_from_file(str(graph)):
            self._errors.extend(str(parser.get_error(index)) for index in range(parser.num_errors))
            self._fail("read the graph")
        config = builder.create_builder_config()
        config.add_optimization_profile(self._profile(builder, network, profile))
        if capability is not None:
            config.num_compute_capabilities = 1
            config.set_compute_capability(self._capability(capability), 0)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            self._fail(f"build for compute capability {capability or 'of this GPU'}")
        return bytes(plan)

    def _profile(self, builder: Any, network: Any, profile: Profile) -> Any:  # noqa: ANN401 -- TensorRT's own
        """Return the optimisation profile, after reading back what TensorRT understood."""
        made = builder.create_optimization_profile()
        for index in range(network.num_inputs):
            name = network.get_input(index).name
            wanted = profile.smallest[name], profile.usual[name], profile.largest[name]
            made.set_shape(name, *wanted)
            if [tuple(shape) for shape in made.get_shape(name)] != list(wanted):
                message = f"TensorRT did not take the shapes of {name}: {wanted}"
                raise ExportError(message)
        return made

    def _capability(self, text: str) -> Any:  # noqa: ANN401 -- TensorRT's own
        known = getattr(self._trt, "ComputeCapability", None)
        chosen = getattr(known, "SM" + text.replace(".", ""), None)
        if chosen is None or "." not in text:
            have = sorted(name[2:-1] + "." + name[-1] for name in dir(known) if name.startswith("SM"))
            message = (
                f"{self.library} cannot build for compute capability {text!r}; it knows {', '.join(have) or 'none'}"
            )
            raise UsageError(message)
        return chosen

    def _fail(self, what: str) -> NoReturn:
        why = " ".join(self._errors[0].split()) if self._errors else "it does not say why"
        message = f"{self.library} {self.version} cannot {what}: {why}"
        raise ExportError(message)


@dataclass(frozen=True)
class BuiltEngine:
    """An engine in a bundle: for what, where, how large, and what building it took (0 where it was there)."""

    target: str
    path: Path
    bytes: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "path": str(self.path)}


def build_engines(
    bundle: Bundle,
    builder: EngineBuilder,
    *,
    capabilities: Texts = (),
    max_batch: int = 32,
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[BuiltEngine]:
    """Build the engines of a bundle's graph into the bundle.

    Args:
        bundle: an opened bundle.
        builder: of `tensorrt` (for the first GPU that is here) or `tensorrt-rtx`.
        capabilities: of `tensorrt-rtx`; empty is 8.6, 8.9 and 12.0.
        max_batch: the most inputs a call may bring.
        on_progress: told what is being done.

    Raises:
        ExportError: the graph is not one of pfedge, or TensorRT refuses it.
        UsageError: there is no such compute capability.
        StorageError: the disk refuses.
    """
    rtx = builder.library == "tensorrt-rtx"
    here = gpu_models()
    if not rtx and not here:
        message = "standard TensorRT builds for the GPU that is here, and there is none: use --to tensorrt-rtx"
        raise ExportError(message)
    rows = sum(bool(entry.rows) for entry in bundle.manifest.classes)
    profile = Profile.of(bundle.manifest.inputs, max_batch=max_batch, max_rows=rows)
    built = []
    for target in (as_texts(capabilities) or CAPABILITIES) if rtx else here[:1]:
        about = EngineAbout(
            graph=bundle.manifest.files[GRAPH]["sha256"],
            profile=profile.to_json(),
            precision=bundle.manifest.precision,
            library=builder.library,
            version=builder.version,
            target=target,
            driver="any" if rtx else driver_version(),
        )
        started = time.perf_counter()
        path = bundle.path / ENGINES / about.key / PLAN
        if not path.is_file():
            on_progress(f"building an engine for {target}")
            write_engine(
                bundle.path, about, builder.build(bundle.graph_path, profile, capability=target if rtx else None)
            )
        built.append(BuiltEngine(target, path, len(read_engine(bundle.path, about)), time.perf_counter() - started))
    return built


def require_ours(graph: Path) -> None:
    """Check that a graph came from pfedge and has an opset that it writes.

    Raises:
        ExportError: it did not, or cannot be read.
    """
    try:
        model = onnx.load(graph, load_external_data=False)
    except Exception as error:  # protobuf's errors share no base class
        message = f"cannot read the graph {graph}: {error}"
        raise ExportError(message) from error
    names = {value.name for value in model.graph.input}
    if model.producer_name != "pfedge" or not {"head_weight", "head_bias"} <= names:
        message = f"{graph} was not exported by pfedge (but by {model.producer_name or 'nobody it names'})"
        raise ExportError(message)
    opset = next((one.version for one in model.opset_import if one.domain in {"", "ai.onnx"}), 0)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        message = f"{graph} has ONNX opset {opset}; engines are built of opsets {OLDEST_OPSET} to {NEWEST_OPSET}"
        raise ExportError(message)


def _logger(trt: Any, errors: list[str]) -> Any:  # noqa: ANN401 -- TensorRT's own
    """Return a logger that keeps errors and drops the rest."""

    class Logger(trt.ILogger):  # type: ignore[misc]  # the base is not known before the library is loaded
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:  # noqa: ANN401 -- TensorRT's own
            driverless = "CUDA driver version is insufficient" in text  # nothing that building needs
            if severity in {trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR} and not driverless:
                errors.append(text)

    return Logger()
