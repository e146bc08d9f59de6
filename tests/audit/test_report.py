from __future__ import annotations

import json
from pathlib import Path

import pytest

from pfedge.auditing.report import AuditReport

AUDITS = Path(__file__).parents[2] / "docs" / "audits"
REPORTS = sorted(AUDITS.glob("*/report.json"))


def test_there_are_reports():
    assert len(REPORTS) >= 6


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.parent.name)
def test_committed_reports_are_what_is_written_of_what_is_read(path):
    value = json.loads(path.read_text())
    assert AuditReport.from_json(value).to_json() == value
    assert list(AuditReport.from_json(value).to_json()) == list(value)


def test_several_references_and_a_comparison_come_back():
    value = {
        "class": {"id": 3, "name": "ig"},
        "verdict": "still knows",
        "reference": {"seed": 42, "more": [{"model_sha256": "c" * 64, "seed": 43, "train_seconds": 1.5}]},
        "attacks": [],
        "baselines": {
            "rows": [
                {
                    "name": "SSD",
                    "source": "Foster et al.",
                    "needs_class_data": True,
                    "needs_other_data": True,
                    "seconds": None,
                    "measures": {"AUC": {"value": 0.5, "low": 0.4, "high": None}},
                }
            ],
            "plot": "AUC",
            "epochs": 3,
        },
    }
    report = AuditReport.from_json(value)
    assert report.reference is not None
    assert report.reference.count == 2
    assert report.to_json() == value


def test_what_a_later_version_tells_is_no_error():
    later = {"class": {"id": 3, "name": "ig", "colour": "red"}, "run": {"seed": 1, "moon": "full"}, "attacks": []}
    report = AuditReport.from_json(later)
    assert report.run is not None
    assert report.run.seed == 1
