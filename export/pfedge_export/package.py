"""Assembling a bundle: graph, bank, manifest, self-test vectors; all or nothing."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from pfedge_export.graph import DEFAULT_OPSET, describe, export_graph, export_static_graph
from pfedge_export.parity import ParityReport, bank_sizes, compare, torch_logits
from pfedge_export.precision import MAX_DROP, Validation, lower, require_precision
from pfedge_runtime.arguments import as_texts
from pfedge_runtime.bank import Bank, guarantee, seal
from pfedge_runtime.bundle import BANK, GRAPH, MANIFEST, SELFTEST, STATIC_GRAPH, Bundle, ClassEntry, Manifest
from pfedge_runtime.device import DeviceState
from pfedge_runtime.engines import Engine, OnnxRuntimeEngine, StaticEngine
from pfedge_runtime.files import canonical_json, require_vacant, sha256_file, staged_folder, write_atomic
from pfedge_runtime.forgetting import write_keys
from pfedge_runtime.inputs import Preprocess
from pfedge_runtime.signing import PrivateKey

SELFTEST_INPUTS = 4

Logits = Callable[[NDArray[Any], Bank], NDArray[np.float32]]


@dataclass(frozen=True)
class BundleDescription:
    """What a bundle says of the model beside its graph and bank.

    Attributes:
        guarantee: the name of what forgetting promises.
        dataset: name of what it was trained on.
        classes: all class names; the class id is the position.
        preprocess: how a file becomes a graph input.
        reach: trained parameters in `rows`, and `shared` ones that forgetting cannot reach.
        made_by: versions of what trained it.
        opset: ONNX opset.
        tolerance: largest logit difference that parity allows, in what units its guarantee says; None for what that
            allows.
        precision: what the graph computes in: `fp32`, `fp16` or `int8`.
        quantization: of int8: see `to_int8`.
        max_drop: by how much accuracy may fall in fewer bits.
        static_batch: inputs of every call of the graph with fixed shapes, where there is one.
        audits: class id, as text -> SHA-256 of the report of the audit of forgetting that class.
    """

    guarantee: str
    dataset: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    reach: dict[str, int]
    made_by: dict[str, str]
    opset: int = DEFAULT_OPSET
    tolerance: float | None = None
    precision: str = "fp32"
    quantization: str = "dynamic"
    max_drop: float = MAX_DROP
    static_batch: int = 1
    audits: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the choices.

        Raises:
            UsageError: there is no such precision or quantisation, or it breaks the guarantee.
        """
        object.__setattr__(self, "classes", as_texts(self.classes))
        require_precision(self.precision, self.quantization, self.guarantee)

    def compare(
        self,
        module: nn.Module,
        engine: Engine,
        bank: Bank,
        inputs: NDArray[Any],
        *,
        name: str,
        on_count: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> ParityReport:
        """Compare a graph with its module as the guarantee asks for; see `pfedge_export.parity.compare`."""
        promised = guarantee(self.guarantee)
        tolerance = promised.tolerance if self.tolerance is None else self.tolerance
        return compare(
            module,
            engine,
            bank,
            inputs,
            name=name,
            tolerance=tolerance,
            relative=promised.relative,
            on_progress=on_count,
        )


def export_bundle(
    destination: Path,
    module: nn.Module,
    bank: Bank,
    description: BundleDescription,
    inputs: NDArray[Any],
    *,
    validation: Validation | None = None,
    static: nn.Module | None = None,
    keys_out: Path | None = None,
    signer: PrivateKey | None = None,
    state: DeviceState | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
    on_count: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Bundle, ParityReport]:
    """Export `module` and `bank` to a new bundle at `destination`, and compare them on real inputs.

    Args:
        destination: a folder that does not exist yet, or is empty.
        module: see `pfedge_export.graph`.
        bank: all rows.
        description: the rest.
        inputs: real ones of the graph's size, `[N, *preprocess.shape]`; the first few go into the self-test.
        validation: what a precision below float32 is judged on, and calibrated where it is static.
        static: the module with fixed shapes, see `export_static_graph`; None leaves `graph.static.onnx` out.
        keys_out: seals each row, and puts their keys into this new file; None leaves rows as they are.
        signer: signs the bundle.
        state: what the bundle is opened under once it is made; None is this machine's.
        on_progress: told what is being done.
        on_count: told how many inputs are compared, and of how many.

    Raises:
        StorageError: the destination is taken, or the disk is full; nothing is left behind.
        ExportError: the graph cannot be made.
        ParityError: it does not compute what the module computes; nothing is left behind.
        GateError: in fewer bits it decides otherwise too often; nothing is left behind.
        UsageError: fewer bits were asked for, and there are no validation inputs to judge them on.
    """
    require_vacant(destination)
    if keys_out is not None:
        require_vacant(keys_out)
    with ExitStack() as undo, staged_folder(destination) as folder:
        on_progress("tracing the graph")
        signature = guarantee(description.guarantee).graph
        graph = export_graph(module, bank, folder / GRAPH, description.preprocess, signature, opset=description.opset)
        on_progress(f"comparing with torch on {len(inputs)} inputs")
        engine = OnnxRuntimeEngine(folder / GRAPH)
        report = description.compare(module, engine, bank, inputs, name="ONNX Runtime, CPU", on_count=on_count)
        report.require()
        if static is not None:
            on_progress("tracing the graph with fixed shapes, and comparing it")
            _add_static(folder / STATIC_GRAPH, static, module, bank, description, inputs)
        gate: dict[str, Any] = {}
        logits: Logits = partial(torch_logits, module)
        if description.precision != "fp32":
            on_progress(f"converting to {description.precision}, and judging it on validation inputs")
            judged, lowered = lower(
                folder / GRAPH,
                engine,
                bank,
                validation,
                precision=description.precision,
                quantization=description.quantization,
                max_drop=description.max_drop,
                on_progress=on_progress,
            )
            gate, logits = judged.to_json(), partial(_logits, lowered)
        on_progress("writing the bundle")
        name = description.preprocess.input_name
        (folder / SELFTEST).write_bytes(_selftest(logits, bank, name, inputs[:SELFTEST_INPUTS]))
        manifest = _manifest(description, bank, graph, folder, parity=report, gate=gate, sealed=keys_out is not None)
        write_atomic(folder / MANIFEST, manifest.to_bytes())
        if signer is not None:
            Bundle(folder, manifest).sign(signer)
        if keys_out is None:
            write_atomic(folder / BANK, bank.to_bytes())
        else:
            _write_sealed(folder / BANK, bank, keys_out, manifest.model_id)
            undo.push(partial(_remove_if_failed, keys_out))
    return Bundle.open(destination, read_bank=keys_out is None, state=state), report


def _remove_if_failed(path: Path, kind: type[BaseException] | None, *_: object) -> None:
    if kind is not None:
        path.unlink()


def _write_sealed(path: Path, bank: Bank, keys_out: Path, model_id: str) -> None:
    """Write a bank with each row encrypted, and the keys of its rows into a file of their own."""
    sealed, keys = seal(bank)
    write_atomic(path, sealed.to_bytes())
    write_keys(keys_out, model_id, keys)


def _add_static(
    path: Path, static: nn.Module, module: nn.Module, bank: Bank, description: BundleDescription, inputs: NDArray[Any]
) -> None:
    """Write the graph with fixed shapes, and make sure that masking is dropping."""
    export_static_graph(
        static,
        bank,
        path,
        description.preprocess,
        guarantee(description.guarantee).graph,
        opset=description.opset,
        batch=description.static_batch,
    )
    description.compare(module, StaticEngine(path), bank, inputs, name=f"{path.name}, CPU").require()


def _manifest(
    description: BundleDescription,
    bank: Bank,
    graph: onnx.ModelProto,
    folder: Path,
    *,
    parity: ParityReport,
    gate: dict[str, Any],
    sealed: bool,
) -> Manifest:
    """Return the manifest of what lies in `folder`, in which everything but bank and manifest is written."""
    files = {
        file.name: {"sha256": sha256_file(file), "bytes": file.stat().st_size} for file in sorted(folder.iterdir())
    }
    classes = tuple(_entry(class_id, name, bank) for class_id, name in enumerate(description.classes))
    identity = {"files": files, "classes": [[entry.id, entry.name, entry.rows] for entry in classes]}
    return Manifest(
        model_id=hashlib.sha256(canonical_json(identity)).hexdigest()[:32],
        guarantee=description.guarantee,
        dataset=description.dataset,
        classes=classes,
        preprocess=description.preprocess,
        inputs=describe(graph.graph.input),
        outputs=describe(graph.graph.output),
        opset=description.opset,
        files=files,
        reach=description.reach,
        parity=parity.to_json(),
        made_by=description.made_by | {name: metadata.version(name) for name in ("pfedge-export", "onnx", "torch")},
        precision=description.precision,
        gate=gate,
        sealed=sealed,
        audits=description.audits,
    )


def _entry(class_id: int, name: str, bank: Bank) -> ClassEntry:
    """Return a class as the manifest lists it."""
    rows = {key.source: digest for key, digest in bank.row_digests().items() if key.class_id == class_id}
    by_source = {source: digest for source, digest in rows.items() if source}
    return ClassEntry(class_id, name, rows.get(""), by_source)


def _logits(engine: Engine, inputs: NDArray[Any], bank: Bank) -> NDArray[np.float32]:
    return engine.run(inputs, bank).logits


def _selftest(logits: Logits, bank: Bank, name: str, inputs: NDArray[Any]) -> bytes:
    """Return an `.npz`: the inputs under the graph's name for them, and the cases.

    Each case has `<i>.rows` (class ids) and `<i>.logits`: torch's, or in fewer bits those of the graph on this CPU.

    Besides the sizes of the parity report there is one case per row alone, so that a device that has
    forgotten any classes still has cases left to run.
    """
    banks = [*bank_sizes(bank).values(), *(bank.select({class_id}) for class_id in bank.class_ids)]
    arrays: dict[str, NDArray[np.generic]] = {name: inputs}
    for index, smaller in enumerate(banks):
        arrays[f"{index}.rows"] = np.array(smaller.class_ids, dtype=np.int64)
        arrays[f"{index}.logits"] = logits(inputs, smaller)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
