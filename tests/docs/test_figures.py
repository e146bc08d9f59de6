"""Figures in prose are those of the results that are committed beside it."""

from __future__ import annotations

import json
import runpy

import pytest

from support.pages import ROOT, prose

RESULTS = ROOT / "benchmarks" / "results"


def result(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def audit(guarantee, class_id, attack, measure):
    """Return a measure of an audit of blood112: after forgetting, and where the class was never known."""
    report = json.loads((ROOT / "docs" / "audits" / f"blood112-{guarantee}-{class_id}" / "report.json").read_text())
    measures = next(one["measures"] for one in report["attacks"] if one["key"] == attack)
    found = next(one for one in measures if one["name"] == measure)
    return found["after"]["value"], found["reference"]["value"]


def probe(shots, place="last-layer CLS"):
    return "representation", f"recovery F1, {place}, {shots} shots"


def startup(name):
    one = result("startup")["processes"][name]
    return one["seconds"], one["peak_bytes"] / 2**20


def int8_beside(contender):
    times = result("peers")["models"]["ViT-B/16 224"]["milliseconds"]["1"]
    return times[contender] / times["pfedge int8 static, openvino"]


def few_shots(shots):
    """Return ig after, monocytes after, ig never known, monocytes never known."""
    ig, monocytes = audit("shared", 3, *probe(shots)), audit("shared", 5, *probe(shots))
    return ig[0], monocytes[0], ig[1], monocytes[1]


def both(guarantee, *what):
    return *audit(guarantee, 3, *what), *audit(guarantee, 5, *what)


def null_controls(references, guarantee):
    runs = result("audit_controls")[f"null, {guarantee}, references: {references}"]
    return sum(one["verdict"] == "indistinguishable from never trained" for one in runs), len(runs)


RELEARNING = "relearning", "mean balanced accuracy over the steps, 5 shots"
CONFIDENCE = "neighbour", "AUC, lack of confidence alone"
INVERSION = "inversion", "AUC of the best row made up"
LOSS = "membership", "AUC, loss threshold"
DROPPING = {rows: one["durable_ms"] for rows, one in result("forgetting")["dropping"].items()}

QUOTED = [  # page, what it says, the figures
    ("README.md", "an F1 of {:.2f} and {:.2f} (two classes), against {:.2f} and {:.2f}", few_shots(5)),
    ("README.md", "takes {:.1f} ms, one of 1,000 rows {:.0f} ms", (DROPPING["8"], DROPPING["1000"])),
    ("README.md", "takes {:.2f} s and {:.0f} MiB; transformers", startup("pfedge predict")),
    ("README.md", "torch take {:.2f} s and {:.0f} MiB", startup("transformers and torch")),
    ("docs/forgetting.md", "takes {:.1f} ms (median; 8 rows", (DROPPING["8"],)),
    ("docs/forgetting.md", "and {:.0f} ms with 1,000 rows", (DROPPING["1000"],)),
    ("docs/results.md", "`pfedge --help` takes {:.2f} s", startup("pfedge --help")[:1]),
    ("docs/results.md", "takes {:.2f} s and {:.0f} MiB as a whole process", startup("pfedge predict")),
    ("docs/results.md", "it is {:.2f} s and {:.0f} MiB", startup("transformers and torch")),
    ("docs/results.md", "{:.1f} times faster than torch in float32", (int8_beside("torch eager fp32"),)),
    ("docs/results.md", "{:.1f} times faster than OpenVINO's default", (int8_beside("OpenVINO default"),)),
    ("docs/audit.md", "F1 {0:.2f} / {2:.2f} (ig) and {1:.2f} / {3:.2f} (monocytes)", few_shots(5)),
    ("docs/audit.md", "difference is left: {0:.2f} / {2:.2f} and {1:.2f} / {3:.2f}", few_shots(100)),
    ("docs/audit.md", "{2:.2f} / {3:.2f} over its first 32 steps (ig: {0:.2f} / {1:.2f})", both("shared", *RELEARNING)),
    ("docs/audit.md", "AUC {2:.3f} / {3:.2f}, and ig with {0:.2f} / {1:.2f}", both("shared", *CONFIDENCE)),
    ("docs/audit.md", "AUC of {:.2f} / {:.2f} and {:.2f} / {:.2f}. Shadow", both("shared", *LOSS)),
    ("docs/audit.md", "RMIA on ig, {:.2f} / {:.2f}", audit("isolated", 3, "membership", "AUC, RMIA")),
    ("docs/audit.md", "AUC of {:.2f} / {:.2f} and {:.2f} / {:.2f}, and lack", both("isolated", *INVERSION)),
    ("docs/audit.md", "one of {2:.2f} / {3:.2f} (monocytes)", both("isolated", *CONFIDENCE)),
    ("docs/audit.md", "after it with {:.2f}", audit("exact", 3, "membership", "AUC, online LiRA")[:1]),
    ("docs/audit.md", "{} of {} `isolated` and", null_controls(1, "isolated")),
    ("docs/audit.md", "{} of {} `shared` models", null_controls(1, "shared")),
    ("docs/audit.md", "it is {} of {} of both", null_controls(2, "isolated")),
    ("docs/audit.md", "it is {} of {} of both", null_controls(2, "shared")),
]  # fmt: skip


@pytest.mark.parametrize(("page", "said", "figures"), QUOTED)
def test_a_figure_in_prose_is_that_of_its_result(page, said, figures):
    assert said.format(*figures) in prose(ROOT / page)


def test_the_page_of_performance_is_what_its_results_make():
    made = runpy.run_path(str(ROOT / "benchmarks" / "tables" / "performance.py"))["page"]()
    assert (ROOT / "docs" / "performance.md").read_text() == made
