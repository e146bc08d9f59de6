"""An audit's report as one HTML page, for people who need not know statistics.

    page = render(AuditReport.from_json(json.loads(Path("report.json").read_text())))

The words stand in `templates/`, the looks in `style.css`, which is inlined. The page refers to nothing outside of
itself and runs no script. The same report gives the same bytes. Jinja escapes all text where it enters, wherever it
came from; what would hide or turn other text is replaced by visible characters.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pfedge.auditing.page import charts, findings
from pfedge.auditing.page.numbers import NONE, is_finite, number, plain, printable
from pfedge.auditing.page.tradeoff import tradeoff
from pfedge.auditing.statistics import BETTER, INDISTINGUISHABLE, NOT_SHOWN, STILL_KNOWS, UNDECIDED

if TYPE_CHECKING:
    from pfedge.auditing.report import AuditReport

MODELS = ("before", "after", "reference")
BADGES = {  # CSS class, sign
    INDISTINGUISHABLE: ("apart", "✓"),
    NOT_SHOWN: ("", "○"),
    BETTER: ("nearer", "◐"),
    STILL_KNOWS: ("knows", "✗"),
    UNDECIDED: ("", "?"),
}
APPENDIX = ("schema", "time", "seed", "margin", "error_rate", "run", "bundle", "reference", "data", "made_by")


def render(report: AuditReport) -> str:
    """Return the page of a report; what the report does not tell is left out."""
    comparison = report.baselines
    told = report.to_json()
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            style=Markup((Path(__file__).parent / "style.css").read_text()),  # noqa: S704 -- ours
            plots=[
                charts.of_attack(attack.key, attack.data, identifier=f"attack-{number}")
                for number, attack in enumerate(report.attacks, start=1)
            ],
            comparison_plot=tradeoff(comparison.rows, comparison.plot, identifier="baselines-plot")
            if comparison
            else None,
            leaves=list(findings.leaves({key: told[key] for key in APPENDIX if key in told})),
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pfedge.auditing.page"),
        autoescape=True,
        extensions=["jinja2.ext.do"],
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "plain": plain, "svg": Markup, "yes": findings.yes}
    environment.globals |= {
        "MODELS": MODELS,
        "NONE": NONE,
        "BADGES": BADGES,
        "MEANINGS": findings.MEANINGS,
        "INDISTINGUISHABLE": INDISTINGUISHABLE,
        "NOT_SHOWN": NOT_SHOWN,
        "BETTER": BETTER,
        "STILL_KNOWS": STILL_KNOWS,
        "at_most": findings.at_most,
        "finding": findings.finding,
        "widest": findings.widest,
        "interval": interval,
    }
    return environment


def interval(value: float | None, low: float | None = None, high: float | None = None) -> tuple[str, str]:
    """Return a number and its interval with as many places, the latter empty without one.

    >>> interval(0.5, 0.25, 0.75), interval(None)
    (('0.500', '[0.250, 0.750]'), ('—', ''))
    """
    scale = max((abs(one) for one in (value, low, high) if is_finite(one)), default=0.0)
    ends = f"[{number(low, scale)}, {number(high, scale)}]" if is_finite(low) and is_finite(high) else ""
    return number(value, scale), ends


def _printable(value: object) -> object:
    """Return what enters the page: markup as it is, else text without what would hide or turn other text."""
    return value if isinstance(value, Markup) else printable(str(value))
