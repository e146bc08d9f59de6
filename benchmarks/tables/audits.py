"""The table of docs/audits/README.md, from the reports that lie there.

    python benchmarks/tables/audits.py          # writes the table between its marks, and prints it

Each cell is after / reference, and a mark where that measure's distance is significantly beyond the margin.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pfedge.auditing.statistics.measure import INDISTINGUISHABLE, Attack, Measure

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


def table(folder: Path = FOLDER) -> str:
    """Return one line a report."""
    reports = [json.loads(path.read_text()) for path in sorted(folder.glob("*/report.json"))]
    order = ("shared", "isolated", "exact")
    reports.sort(key=lambda one: (one["run"]["dataset"], order.index(one["run"]["guarantee"]), one["class"]["id"]))
    lines = [f"| data, guarantee, class | verdict | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    lines += [_line(report) for report in reports]
    return "\n".join(lines)


def _line(report: dict[str, Any]) -> str:
    measures = {
        (attack.key, measure.name): measure
        for attack in map(Attack.from_json, report["attacks"])
        for measure in attack.measures
    }
    cells = []
    for key, names in COLUMNS.values():
        found = next((measures[key, name] for name in names if (key, name) in measures), None)
        cells.append(_cell(found))
    run, name = report["run"], report["class"]["name"].partition("(")[0]
    folder = f"{run['dataset']}-{run['guarantee']}-{report['class']['id']}"
    what = f"{run['dataset']}, [`{run['guarantee']}`]({folder}/report.html), {report['class']['id']} {name}"
    return f"| {what} | {report['verdict']} | {' | '.join(cells)} |"


def _cell(measure: Measure | None) -> str:
    if measure is None:
        return ""
    mark = "" if measure.verdict in {"", INDISTINGUISHABLE} else " **!**"
    return f"{measure.after.value:.2f} / {measure.reference.value:.2f}{mark}"


def main() -> None:
    """Write the table."""
    page = FOLDER / "README.md"
    head, _, rest = page.read_text().partition(BEGIN)
    text = table()
    page.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
    print(text)


if __name__ == "__main__":
    main()
