"""The pages and the table of docs/audits, from the reports (report.json) that lie there.

    python benchmarks/tables/audits.py          # judges each anew, writes report.html, and README.md's table

Each cell is after / reference, and a mark where that measure's distance is significantly beyond the margin.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pfedge.auditing.audit import overall
from pfedge.auditing.page import render
from pfedge.auditing.report import AuditedRun, AuditReport
from pfedge.auditing.statistics import NOTHING_FOUND, Measure, judge

FOLDER = Path(__file__).parents[2] / "docs" / "audits"
BEGIN, END = "<!-- audits -->", "<!-- end -->"
COLUMNS = {
    "others' accuracy": ("utility", ["accuracy on the other classes"]),
    "membership, loss": ("membership", ["AUC, loss threshold"]),
    "LiRA": ("membership", ["AUC, online LiRA"]),
    "RMIA": ("membership", ["AUC, RMIA"]),
    **{
        f"recovery, {shots} shots": (
            "representation",
            [f"recovery F1, last-layer CLS, {shots} shots", f"recovery F1, embedding, {shots} shots"],
        )
        for shots in (5, 20, 100)
    },
    "relearning, 5 shots": ("relearning", ["mean balanced accuracy over the steps, 5 shots"]),
    "inversion": ("inversion", ["AUC of the best row made up"]),
    "neighbour": ("neighbour", ["AUC, learned from all probabilities"]),
}


GUARANTEES = ("shared", "isolated", "exact")  # in the order of the table


def read_reports(folder: Path = FOLDER) -> dict[Path, AuditReport]:
    """Return the reports, by the folder that each lies in."""
    paths = sorted(folder.glob("*/report.json"))
    return {path.parent: judged_anew(AuditReport.from_json(json.loads(path.read_text()))) for path in paths}


def judged_anew(report: AuditReport) -> AuditReport:
    """Return a report with the verdicts that this version draws from what was measured."""
    attacks = judge(report.attacks, margin=report.margin)
    same_bank = bool(report.reference and report.reference.same_bank)
    return replace(report, attacks=attacks, verdict=overall(attacks, same_bank=same_bank))


def table(reports: Mapping[Path, AuditReport]) -> str:
    """Return one line a report."""
    lines = [f"| data, guarantee, class | verdict | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for folder, report in sorted(reports.items(), key=lambda item: _order(item[1])):
        lines.append(_line(folder.name, report))
    return "\n".join(lines)


def _order(report: AuditReport) -> tuple[str, int, int]:
    run = report.run or AuditedRun()
    return run.dataset or "", GUARANTEES.index(run.guarantee or ""), report.audited_class.id


def _line(folder: str, report: AuditReport) -> str:
    measures = {(attack.key, measure.name): measure for attack in report.attacks for measure in attack.measures}
    cells = []
    for key, names in COLUMNS.values():
        found = next((measures[key, name] for name in names if (key, name) in measures), None)
        cells.append(_cell(found))
    run, name = report.run or AuditedRun(), report.audited_class.name.partition("(")[0]
    what = f"{run.dataset}, [`{run.guarantee}`]({folder}/report.html), {report.audited_class.id} {name}"
    return f"| {what} | {report.verdict} | {' | '.join(cells)} |"


def _cell(measure: Measure | None) -> str:
    if measure is None:
        return ""
    mark = "" if measure.verdict in {"", *NOTHING_FOUND} else " **!**"
    return f"{measure.after.value:.2f} / {measure.reference.value:.2f}{mark}"


def main() -> None:
    """Write the pages and the table."""
    reports = read_reports()
    for folder, report in reports.items():
        (folder / "report.json").write_text(json.dumps(report.to_json(), indent=1, allow_nan=False) + "\n")
        (folder / "report.html").write_text(render(report))
    page = FOLDER / "README.md"
    head, _, rest = page.read_text().partition(BEGIN)
    text = table(reports)
    page.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
    print(text)


if __name__ == "__main__":
    main()
