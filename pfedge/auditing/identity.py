"""What an audit is about, by digests: all that an attack's outcome depends on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pfedge.auditing.case import Case, short_digest
from pfedge.auditing.report import AuditedBundle, AuditedRun, FurtherReference, Reference
from pfedge.runs import Run
from pfedge_runtime.bundle import MANIFEST
from pfedge_runtime.files import sha256_file

METHOD = 2  # goes up when an attack would measure something else: kept outcomes are then of no use


@dataclass(frozen=True)
class Identity:
    """What is audited, and by what code.

    Attributes:
        run: the training.
        bundle: the bundle whose graph is asked.
        reference: the models that never knew the class.
        code_sha256: over the source of the audit.
        digest: first 16 digits of the SHA-256 of all that an attack's outcome depends on.
    """

    run: AuditedRun
    bundle: AuditedBundle
    reference: Reference
    code_sha256: str
    digest: str

    @classmethod
    def of(cls, case: Case) -> Identity:
        """Return what a case is about; its reference is trained and its bundle exported, where they are not there."""
        run = _audited_run(case.run)
        reference = _reference(case)  # first: it opens the data set, and says what to do where that has moved
        bundle = _audited_bundle(case)
        code = code_sha256()
        settings: dict[str, Any] = {
            "data": case.pool.digest,
            "seed": case.settings.seed,
            "shadows": case.settings.shadows,
            "method": METHOD,
            "forgotten": case.class_id,
            "code": code,
        }
        parts = {"run": run.to_json(), "bundle": bundle.to_json(), "reference": reference.to_json()}
        return cls(run, bundle, reference, code, short_digest(parts | settings))


def train_seconds(run: Run) -> float:
    """Return how long a run trained."""
    return run.metrics.train_seconds or 0.0


def code_sha256() -> str:
    """Return SHA-256 over the source of the audit."""
    whole = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def _audited_run(run: Run) -> AuditedRun:
    train = run.config.train
    return AuditedRun(
        name=run.name,
        dataset=run.config.dataset_name,
        guarantee=train.guarantee,
        backbone=Path(train.model_name).name,
        seed=train.seed,
        model_sha256=sha256_file(run.model_file),
        backbone_digest=run.config.backbone_digest,
    )


def _audited_bundle(case: Case) -> AuditedBundle:
    return AuditedBundle(
        model_id=case.bundle.manifest.model_id,
        manifest_sha256=sha256_file(case.bundle.path / MANIFEST),
        graph_sha256=sha256_file(case.bundle.graph_path),
        bank_after=case.banks[1].digest(),
        device="cpu",
        precision=case.bundle.manifest.precision,
    )


def _reference(case: Case) -> Reference:
    first, *more = (
        FurtherReference(
            model_sha256=sha256_file(run.model_file),
            seed=run.config.train.seed,
            train_seconds=train_seconds(run),
        )
        for run in case.references
    )
    return Reference(
        model_sha256=first.model_sha256,
        seed=first.seed,
        train_seconds=first.train_seconds,
        same_graph=len(set(case.graphs)) == 1,
        same_bank=case.same_bank,
        more=tuple(more),
    )
