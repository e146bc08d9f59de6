"""What an audit found: report.json of the schema `pfedge-audit/1`, typed.

    report = AuditReport.from_json(json.loads(Path("report.json").read_text()))
    report.verdict, report.run.guarantee, report.attacks[0].measures[0].after.value

A part that a report does not tell is None here, and absent from its JSON.

>>> report = AuditReport(AuditedClass(3, "ig"), attacks=())
>>> report.to_json()
{'class': {'id': 3, 'name': 'ig'}, 'verdict': '', 'attacks': []}
>>> AuditReport.from_json(report.to_json()) == report
True
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from pfedge.auditing.citations import Citation
from pfedge.auditing.statistics import Attack, Estimate
from pfedge_runtime.files import finite


class _Part:
    """A part of a report whose fields are named as in the JSON."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the part; what a later version added is ignored."""
        known = {one.name for one in fields(cls)}  # type: ignore[arg-type]  # every heir is a dataclass
        return cls(**{key: entry for key, entry in value.items() if key in known})

    @classmethod
    def if_told(cls, value: Mapping[str, Any] | None) -> Self | None:
        """Return the part, or None of None."""
        return None if value is None else cls.from_json(value)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, without what is not told."""
        return {key: entry for key, entry in asdict(self).items() if entry is not None}  # type: ignore[call-overload]


@dataclass(frozen=True)
class AuditedClass(_Part):
    """The class that was forgotten."""

    id: int
    name: str = ""


@dataclass(frozen=True)
class AuditedRun(_Part):
    """The training that is audited.

    Attributes:
        name: of its folder.
        dataset: name of the data set.
        guarantee: `shared`, `isolated` or `exact`.
        backbone: name of the backbone.
        seed: of the training.
        model_sha256: of model.safetensors.
        backbone_digest: SHA-256 over the backbone's weights.
    """

    name: str | None = None
    dataset: str | None = None
    guarantee: str | None = None
    backbone: str | None = None
    seed: int | None = None
    model_sha256: str | None = None
    backbone_digest: str | None = None


@dataclass(frozen=True)
class AuditedBundle(_Part):
    """The bundle whose graph was asked.

    Attributes:
        model_id: of its manifest.
        manifest_sha256: of manifest.json.
        graph_sha256: of graph.onnx.
        bank_after: digest of the bank after forgetting.
        device: where it was asked.
        precision: `fp32`, `fp16` or `int8`.
    """

    model_id: str | None = None
    manifest_sha256: str | None = None
    graph_sha256: str | None = None
    bank_after: str | None = None
    device: str | None = None
    precision: str | None = None


@dataclass(frozen=True)
class FurtherReference(_Part):
    """One more model that never knew the class."""

    model_sha256: str | None = None
    seed: int | None = None
    train_seconds: float | None = None


@dataclass(frozen=True)
class Reference(_Part):
    """The model that never knew the class.

    Attributes:
        model_sha256: of its model.safetensors.
        seed: of its training.
        train_seconds: how long that took.
        same_graph: whether all models are deployed in one graph.
        same_bank: whether the bank after forgetting is byte for byte that of every reference.
        more: further references, of other seeds; None in reports of before there were any.
    """

    model_sha256: str | None = None
    seed: int | None = None
    train_seconds: float | None = None
    same_graph: bool | None = None
    same_bank: bool | None = None
    more: tuple[FurtherReference, ...] | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return the reference."""
        more = value.get("more")
        parts = None if more is None else tuple(FurtherReference.from_json(one) for one in more)
        return super().from_json({**value, "more": parts})

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        more = None if self.more is None else {"more": [one.to_json() for one in self.more]}
        return super().to_json() | (more or {})

    @property
    def count(self) -> int:
        """How many references there are."""
        return 1 + len(self.more or ())


@dataclass(frozen=True)
class AuditedData(_Part):
    """The inputs.

    Attributes:
        sha256: over all of them.
        inputs: how many there are of each kind: members, non-members, others.
    """

    sha256: str | None = None
    inputs: dict[str, int] | None = None


@dataclass(frozen=True)
class AuditCode(_Part):
    """What code made the audit.

    Attributes:
        sha256: over the source of the audit.
        method: goes up when an attack would measure something else.
    """

    sha256: str | None = None
    method: int | None = None


@dataclass(frozen=True)
class ComparedMethod:
    """One way to forget, in the table of the comparison.

    Attributes:
        name: short, for a table.
        source: where it was published; empty where that is not told.
        needs_class_data: whether forgetting takes data of the class; None where that is not told.
        needs_other_data: whether it takes data of the classes that stay.
        seconds: what it cost.
        measures: what the attacks found, by name.
    """

    name: str
    source: str = ""
    needs_class_data: bool | None = None
    needs_other_data: bool | None = None
    seconds: float | None = None
    measures: dict[str, Estimate] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ComparedMethod:
        """Return the method; a number that is null is nan."""
        measures = {
            name: Estimate(*(_number(one.get(key)) for key in ("value", "low", "high")))
            for name, one in value.get("measures", {}).items()
        }
        return cls(**{**value, "measures": measures})

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; a number that is none is null."""
        value: dict[str, Any] = finite(asdict(self))
        return value

    def value(self, measure: str) -> float | None:
        """Return what was measured; None where nothing was, or no number."""
        estimate = self.measures.get(measure)
        return estimate.value if estimate is not None and math.isfinite(estimate.value) else None


@dataclass(frozen=True)
class Comparison:
    """Other ways to forget, beside the run's own.

    Attributes:
        rows: the methods.
        plot: the measure that is drawn against seconds; empty draws none.
        epochs: of the ordinary network that the methods start from.
    """

    rows: tuple[ComparedMethod, ...]
    plot: str = ""
    epochs: int | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Comparison:
        """Return the comparison."""
        rows = tuple(ComparedMethod.from_json(row) for row in value.get("rows", ()))
        return cls(rows, value.get("plot", ""), value.get("epochs"))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"rows": [row.to_json() for row in self.rows], "plot": self.plot, "epochs": self.epochs}


@dataclass(frozen=True)
class AuditReport:
    """An audit of one class of one run.

    Attributes:
        audited_class: `class` in the JSON.
        attacks: what each found, judged.
        schema: `pfedge-audit/1`.
        time: when it was made, UTC.
        verdict: the worst of the attacks', or that there was too little to judge; empty without one.
        margin: distances from the reference up to it are of no interest.
        error_rate: of all judged intervals together.
        run: the training that is audited.
        bundle: the bundle whose graph was asked.
        reference: the model that never knew the class.
        data: the inputs.
        seed: of every draw.
        shadows: how many shadow models there were.
        method: see `AuditCode`.
        forgotten: the class id.
        code: what code made it.
        made_by: versions by package.
        citations: what the methods are taken from.
        baselines: other ways to forget, where they were compared.
    """

    audited_class: AuditedClass
    attacks: tuple[Attack, ...]
    schema: str | None = None
    time: str | None = None
    verdict: str = ""
    margin: float | None = None
    error_rate: float | None = None
    run: AuditedRun | None = None
    bundle: AuditedBundle | None = None
    reference: Reference | None = None
    data: AuditedData | None = None
    seed: int | None = None
    shadows: int | None = None
    method: int | None = None
    forgotten: int | None = None
    code: AuditCode | None = None
    made_by: dict[str, str] | None = None
    citations: tuple[Citation, ...] | None = None
    baselines: Comparison | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> AuditReport:
        """Return what `to_json` gave, or a report of which but `class` and `attacks` may be missing.

        Raises:
            KeyError: `class` or `attacks` is missing.
        """
        plain = ("schema", "time", "margin", "error_rate", "seed", "shadows", "method", "forgotten", "made_by")
        attacks = [Attack.from_json({"skipped": [], "notes": [], **attack}) for attack in value["attacks"]]
        citations = value.get("citations")
        return cls(
            audited_class=AuditedClass.from_json(value["class"]),
            attacks=tuple(attacks),
            verdict=value.get("verdict") or "",
            run=AuditedRun.if_told(value.get("run")),
            bundle=AuditedBundle.if_told(value.get("bundle")),
            reference=Reference.if_told(value.get("reference")),
            data=AuditedData.if_told(value.get("data")),
            code=AuditCode.if_told(value.get("code")),
            citations=None if citations is None else tuple(Citation(**one) for one in citations),
            baselines=Comparison.from_json(value["baselines"]) if value.get("baselines") else None,
            **{key: value.get(key) for key in plain},
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; what is not told is absent."""
        citations = None if self.citations is None else [asdict(one) for one in self.citations]
        value = {
            "schema": self.schema,
            "time": self.time,
            "class": self.audited_class.to_json(),
            "verdict": self.verdict,
            "margin": self.margin,
            "error_rate": self.error_rate,
            "run": self.run and self.run.to_json(),
            "bundle": self.bundle and self.bundle.to_json(),
            "reference": self.reference and self.reference.to_json(),
            "data": self.data and self.data.to_json(),
            "seed": self.seed,
            "shadows": self.shadows,
            "method": self.method,
            "forgotten": self.forgotten,
            "code": self.code and self.code.to_json(),
            "made_by": self.made_by,
            "citations": citations,
            "attacks": [attack.to_json() for attack in self.attacks],
            "baselines": self.baselines and self.baselines.to_json(),
        }
        return {key: entry for key, entry in value.items() if entry is not None}


def _number(value: float | None) -> float:
    return math.nan if value is None else value
