"""From a run to a bundle."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge.data import Dataset
from pfedge.errors import DataError, RunError
from pfedge.guarantees import Model, guarantee_of, load_model
from pfedge.runs import Run
from pfedge_export import BundleDescription, ParityReport, export_bundle
from pfedge_export.graph import DEFAULT_OPSET
from pfedge_export.precision import MAX_DROP, Validation, require_precision
from pfedge_runtime.arguments import Paths, as_paths
from pfedge_runtime.bundle import Bundle
from pfedge_runtime.device import DeviceState
from pfedge_runtime.errors import UsageError
from pfedge_runtime.files import require_vacant, sha256_file
from pfedge_runtime.signing import PrivateKey

AUDIT_SCHEMA = "pfedge-audit/1"
VALIDATION_INPUTS = 2000


@dataclass(frozen=True)
class ExportSettings:
    """How a run is exported.

    Attributes:
        out: the bundle's folder, new or empty.
        opset: ONNX opset.
        parity_inputs: how many test inputs the graph is compared with torch on; 0 is all.
        tolerance: largest logit difference allowed; None is 1e-4, for `exact` 1e-5 of the largest logit.
        dataset: where those inputs come from; None is the run's own data set.
        data_root: where MedMNIST files lie.
        download: fetch a missing MedMNIST file.
        model_name: where the backbone is now; None is where it was in training.
        precision: what the graph computes in: `fp32`, `fp16` or `int8`.
        quantization: of int8: `dynamic`, `tensor` or `static`.
        max_drop: by how much validation accuracy may fall in fewer bits, as a share.
        static_batch: inputs of every call of a second graph with fixed shapes; 0 is without one.
        keys_out: seals each row, and puts their keys into this new file.
        signer: signs the bundle.
        audits: reports (`report.json`) of audits of this run, whose digests go into the manifest.
    """

    out: Path
    opset: int = DEFAULT_OPSET
    parity_inputs: int = 100
    tolerance: float | None = None
    dataset: str | None = None
    data_root: Path | None = None
    download: bool = True
    model_name: str | None = None
    precision: str = "fp32"
    quantization: str = "dynamic"
    max_drop: float = MAX_DROP
    static_batch: int = 0
    keys_out: Path | None = None
    signer: PrivateKey | None = None
    audits: tuple[Path, ...] = ()


def export_run(
    run: Run,
    settings: ExportSettings,
    *,
    state: DeviceState | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
    on_count: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Bundle, ParityReport]:
    """Export a run: LoRA merged, LoRA-free graph, bank beside it, compared on real test inputs.

    The bundle is opened under `state`; None is this machine's, which refuses rows that were forgotten on it.
    `on_progress` is told what is being done, `on_count` how many inputs are compared and of how many.

    Raises:
        PfedgeError: the run, its backbone, the data set or the destination cannot be used, or parity fails.
    """
    guarantee = guarantee_of(run)
    require_precision(settings.precision, settings.quantization, guarantee.name)
    if settings.tolerance is not None and not 0 <= settings.tolerance < math.inf:
        message = f"a tolerance is a number from 0 on, not {settings.tolerance}"
        raise UsageError(message)
    require_vacant(settings.out)
    audits = read_audits(run, settings.audits)
    on_progress("loading the model")
    model = load_model(run, settings.model_name)
    preprocess = model.backbone.preprocess
    dataset = run.load_dataset(
        model.backbone.image_size,
        dataset=settings.dataset,
        data_root=settings.data_root,
        download=settings.download,
    )
    dataset.require_kind(preprocess, backbone=model.backbone.name)
    inputs = _parity_inputs(dataset, model, settings.parity_inputs)
    description = BundleDescription(
        guarantee=guarantee.name,
        dataset=run.config.dataset_name,
        classes=run.config.classes,
        preprocess=preprocess,
        reach=model.trained_parameters(),
        made_by=run.config.made_by,
        opset=settings.opset,
        tolerance=settings.tolerance,
        precision=settings.precision,
        quantization=settings.quantization,
        max_drop=settings.max_drop,
        static_batch=settings.static_batch,
        audits=audits,
    )
    validation = None if settings.precision == "fp32" else _validation(dataset, model)
    module = model.deployable()
    return export_bundle(
        settings.out,
        module,
        model.bank(),
        description,
        inputs,
        validation=validation,
        static=guarantee.static_graph(model) if settings.static_batch else None,
        keys_out=settings.keys_out,
        signer=settings.signer,
        state=state,
        on_progress=on_progress,
        on_count=on_count,
    )


def _parity_inputs(dataset: Dataset, model: Model, limit: int) -> NDArray[Any]:
    """Return test inputs `[n, ...]` of classes that have a row, at most `limit`; 0 is all.

    Raises:
        DataError: there is none.
    """
    test = dataset.test.only(model.class_ids).sample(limit)
    if not len(test):
        message = f"{dataset.name} has no test input of any class with a row: nothing to compare the graph on"
        raise DataError(message)
    return test.batch(np.arange(len(test)), model.backbone.preprocess)


def _validation(dataset: Dataset, model: Model) -> Validation | None:
    """Return what fewer bits are judged on; None where there is no validation input of a class with a row."""
    val = dataset.val.only(model.class_ids).sample(VALIDATION_INPUTS)
    return Validation(val.batch(np.arange(len(val)), model.backbone.preprocess), val.labels) if len(val) else None


def read_audits(run: Run, paths: Paths) -> dict[str, str]:
    """Return class id, as text -> SHA-256 of the report of its audit.

    Raises:
        RunError: a file is no report, is of another run, or there are two of one class.
    """
    found: dict[str, str] = {}
    for path in as_paths(paths):
        try:
            report = json.loads(path.read_bytes())
            schema, model, class_id = report["schema"], report["run"]["model_sha256"], str(int(report["class"]["id"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"{path} is no audit report: give the report.json of pfedge audit"
            raise RunError(message) from error
        if schema != AUDIT_SCHEMA:
            message = f"{path} has schema {schema!r}; this version of pfedge knows {AUDIT_SCHEMA!r}"
            raise RunError(message)
        if model != sha256_file(run.model_file):
            message = f"{path} is the audit of another run than {run.folder}"
            raise RunError(message)
        if class_id in found:
            message = f"two audits of class {class_id}: {path} is the second"
            raise RunError(message)
        found[class_id] = sha256_file(path)
    return found
