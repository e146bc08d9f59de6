"""An audit's report as one HTML page, for people who need not know statistics.

    page = render(json.loads(Path("report.json").read_text()))

The page refers to nothing outside of itself and runs no script. The same report gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pfedge.auditing.page import figures
from pfedge.auditing.page.markup import NONE, Html, bullets, element, is_finite, lead, number, part, plain, table
from pfedge.auditing.statistics.measure import BETTER, INDISTINGUISHABLE, STILL_KNOWS, UNDECIDED, Attack, Measure

LOOKS = {  # CSS class, sign
    INDISTINGUISHABLE: ("apart", "✓"),
    BETTER: ("nearer", "◐"),
    STILL_KNOWS: ("knows", "✗"),
    UNDECIDED: ("", "?"),
}
MODELS = ("before", "after", "reference")
NAMED = 3  # how many measures a sentence names

MEANINGS = {
    INDISTINGUISHABLE: "No attack found the model after forgetting significantly further than the margin from a model "
    "that never knew the class. This is not a proof that there is no difference; see the limits below.",
    BETTER: "At least one attack tells the model from one that never knew the class, but forgetting brought it "
    "significantly nearer to such a model. Something of the class may be left.",
    STILL_KNOWS: "At least one attack tells the model from one that never knew the class, and forgetting did not bring "
    "it significantly nearer. In this respect, treat the model as one that still knows the class.",
    UNDECIDED: "There are too few inputs of the class for an attack that matters: that the others found nothing says "
    "nothing. See what was not tested.",
}
GUARANTEES = {
    "shared": "Under guarantee “shared”, forgetting drops the class's row. Weights that all classes share were trained "
    "with the class too, and forgetting does not reach them.",
    "isolated": "Under guarantee “isolated”, forgetting drops the class's row. Nothing else was trained to recognise "
    "the class, but the rows of the other classes were trained against its inputs.",
    "exact": "Under guarantee “exact”, forgetting drops the class's row, and the classifier is solved anew from the "
    "rows that are left.",
}
PROOF = (
    "The bank after forgetting is byte for byte that of the model trained without the class. This is a proof: whoever "
    "has the two files can compare them, and it does not rest on the attacks."
)
NO_PROOF = (
    "Guarantee “exact” promises that the bank after forgetting is byte for byte that of the model trained without the "
    "class. Here it is not. Find out why before you rely on either."
)
CSS = """
:root { --ink: #1d2329; --soft: #56606b; --line: #d5dade; --paper: #fff; --tint: #f5f7f8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 62rem; color: var(--ink); background: var(--paper);
  font: 1.05rem/1.55 Charter, "Bitstream Charter", "Iowan Old Style", Georgia, "DejaVu Serif", serif; }
h1, h2, h3, table, figure, .badge, .meta { font-family: "Segoe UI", "Helvetica Neue", Arial, "Noto Sans",
  "DejaVu Sans", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .8rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .7rem; padding-top: .7rem; border-top: 2px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.5rem 0 .4rem; }
p, ul, dl { max-width: 44rem; margin: .5rem 0; }
ul { padding-left: 1.3rem; } li { margin: .3rem 0; }
dt { margin-top: .7rem; } dd { margin: .25rem 0 0 1.3rem; }
a { color: #00518a; } .meta, .soft, .note { color: var(--soft); } .meta { font-size: .88rem; }
.badge { display: inline-block; padding: .05em .6em; border: 1px solid; border-radius: .8em; font-size: .82em;
  font-weight: 600; line-height: 1.5; background: var(--tint); color: #444; }
.apart { background: #e6f1f9; color: #00456f; } .nearer { background: #fff5da; color: #6a4a00; }
.knows { background: #fdebe2; color: #8a2f00; border-style: double; border-width: 3px; }
.overall { font-size: 1.15rem; padding: .5em 1.1em; }
.proof, .warning { border-left: 5px solid #00456f; background: #e6f1f9; padding: .7rem 1rem; }
.warning { border-color: #8a2f00; background: #fdebe2; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .84rem; line-height: 1.4; width: 100%; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .7rem .4rem 0; border-bottom: 1px solid var(--line); }
thead th { border-bottom: 2px solid var(--soft); vertical-align: bottom; } tbody th { font-weight: 600; }
td { font-variant-numeric: tabular-nums; } .interval { white-space: nowrap; color: var(--soft); }
code { font: .92em "DejaVu Sans Mono", Consolas, Menlo, monospace; overflow-wrap: anywhere; }
figure { margin: 1.4rem 0; } figcaption { font-size: .84rem; color: var(--soft); max-width: 44rem; }
svg { display: block; max-width: 100%; height: auto; font-family: inherit; } svg * { stroke-linejoin: round; }
@page { size: A4; margin: 17mm 15mm; }
@media print {
  body { padding: 0; max-width: none; font-size: 10.5pt; } a { color: inherit; }
  h1, h2, h3, h2 + p, h2 + p + p { break-after: avoid; } table { font-size: 8.5pt; }
  tr, figure, li, dd, .scroll, .proof, .warning { break-inside: avoid; }
  thead { display: table-header-group; } .scroll { overflow: visible; }
  .appendix { break-before: page; } .appendix .scroll { break-inside: auto; }
  .badge, .proof, .warning { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""


def render(report: dict[str, Any]) -> str:
    """Return the page of a report of the schema `pfedge-audit/1`.

    Args:
        report: what report.json holds. Only `class` and `attacks` must be there; what else is missing is left out.
    """
    attacks = [Attack.from_json({"skipped": [], "notes": [], **value}) for value in report["attacks"]]
    run = report.get("run") or {}
    name, number = report["class"].get("name", ""), report["class"].get("id", "")
    title = f"Audit: forgetting {name} (class {number})"
    title += f" — {run.get('dataset', 'unnamed dataset')}, guarantee {run.get('guarantee', 'not named')}"
    parts = [
        element("h1", title),
        element("p", _badge(report.get("verdict") or "", overall=True)),
        element("p", _colophon(report), class_="meta"),
        _summary(report, attacks),
        _overview(report, attacks),
        *(_section(attack, index, report) for index, attack in enumerate(attacks, start=1)),
        _baselines(report["baselines"]) if report.get("baselines") else "",
        _appendix(report),
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content="default-src 'none'; style-src 'unsafe-inline'"),
        element("title", title),
        element("style", Html(CSS)),
    )
    return "<!DOCTYPE html>\n" + element("html", head, element("body", element("main", *parts)), lang="en") + "\n"


def widest(attack: Attack) -> Measure | None:
    """Return the judged measure of which the data allow the largest distance; None where none is judged."""
    found = [measure for measure in attack.measures if measure.judged and is_finite(_reach(measure))]
    return max(found, key=_reach, default=None)


def _reach(measure: Measure) -> float:
    return max(abs(measure.low), abs(measure.high))


def _summary(report: dict[str, Any], attacks: Sequence[Attack]) -> Html:
    run, margin = report.get("run") or {}, plain(report.get("margin"))
    model = f"The model {run.get('name', '')}, trained on the dataset {run.get('dataset', '')},"
    skipped = [f"{attack.title}, {one.name}: {one.reason}" for attack in attacks for one in attack.skipped]
    meanings = [
        part
        for verdict, text in MEANINGS.items()
        for part in (
            element("dt", _badge(verdict), " (the verdict of this audit)" if report.get("verdict") == verdict else ""),
            element("dd", text),
        )
    ]
    return part(
        "Summary",
        element(
            "p",
            f"{model} was made to forget the class {report['class'].get('name', '')}. This page says what an attacker "
            "could still learn about that class from the model, compared with a model that never knew it. "
            f"{GUARANTEES.get(run.get('guarantee', ''), '')}",
        ),
        _proof(run.get("guarantee"), report.get("reference") or {}),
        element("h3", "The three models"),
        bullets(
            lead("Before", "the model as trained, with the class."),
            lead("After", "the same model once it has forgotten the class. This is the one that stays in use."),
            lead("Reference", "trained by the same recipe without the class. It never knew it.", _several(report)),
        ),
        element(
            "p",
            "Each attack meets all three on the same inputs. A model that never knew the class gives some answer to it "
            "too, so that no number counts by itself. What counts is the distance of after from reference, in either "
            "direction: being conspicuously bad at a class is a trace of it as well. What is not "
            f"significantly beyond {margin}, the margin, counts as none.",
        ),
        element("h3", "What a verdict means"),
        element("dl", *meanings),
        element("p", "An attack has the worst verdict of its measures, and the audit the worst of its attacks."),
        element("h3", "What the attacks found"),
        bullets(*(_finding(attack, report.get("margin")) for attack in attacks)),
        element("h3", "What was not tested"),
        bullets(*(skipped or ["Of what the attacks named here measure, nothing was left out."])),
        element("h3", "Limits"),
        bullets(
            "An audit measures the attacks named here and no others. An attacker with a better one may learn more.",
            f"“Indistinguishable” means that no distance significantly beyond the margin of {margin} was found. It is "
            f"not a proof. {_at_most(attacks, report.get('error_rate'))}",
            "The intervals cover the choice of inputs and the repetitions of an attack. How much two trainings by the "
            f"same recipe differ by chance is seen from several references only; here there {_count(report)}.",
            "The audit is about this model, this class and these inputs. It says nothing about copies: the data "
            "themselves, backups, older versions of the model.",
        ),
        identifier="summary",
    )


def _count(report: Mapping[str, Any]) -> str:
    count = 1 + len((report.get("reference") or {}).get("more") or [])
    return "is one" if count == 1 else f"are {count}"


def _several(report: Mapping[str, Any]) -> str:
    """Return what a reader should know of further references; nothing where there are none."""
    if not (report.get("reference") or {}).get("more"):
        return ""
    return (
        f" There {_count(report)}, trained from seeds of their own. Each measure is compared with that whose value is "
        "nearest, and one that lies between two counts as no trace. Tables by class and plots show the first."
    )


def _proof(guarantee: str | None, reference: Mapping[str, Any]) -> Html:
    if guarantee != "exact" or reference.get("same_bank") is None:
        return Html("")
    if not reference["same_bank"]:
        return element("p", NO_PROOF, class_="warning")
    graph = " Both run on the same graph as well." if reference.get("same_graph") else ""
    return element("p", PROOF, graph, class_="proof")


def _finding(attack: Attack, margin: float | None) -> Html:
    """Return one sentence on an attack."""
    judged = [measure for measure in attack.measures if measure.judged]
    names = [measure.name for measure in judged if measure.verdict == attack.verdict]
    others = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    found = widest(attack)
    if not judged:
        first = attack.notes[0].rstrip(".") if attack.notes else "nothing was measured"
        words = ": no verdict rests on it" if attack.measures else f": {first}"
    elif attack.verdict == INDISTINGUISHABLE:
        words = ""
    else:
        words = f", by {len(names)} of {len(judged)} measures ({', '.join(names[:NAMED])}{others})"
    if found is not None:
        words += f"; the distance from reference is at most {number(_reach(found))}"
    if found is not None and margin is not None and attack.verdict == INDISTINGUISHABLE:
        within = _reach(found) <= margin
        words += ", within the margin" if within else ", more than the margin: the data cannot rule that out"
    return lead(attack.title, _badge(attack.verdict), f"{words}.")


def _at_most(attacks: Sequence[Attack], error_rate: float | None) -> str:
    """Return how far the attacks that found nothing may have been from finding something."""
    cleared = [attack for attack in attacks if attack.verdict == INDISTINGUISHABLE]
    found = [(attack.title, measure) for attack in cleared if (measure := widest(attack))]
    if not found:
        return "No attack has this verdict here."
    title, measure = max(found, key=lambda pair: _reach(pair[1]))
    sure = "" if error_rate is None else f", at {100 * (1 - error_rate):g} % confidence over all measures together"
    return (
        f"Over the attacks with this verdict here, the distance is at most {number(_reach(measure))} ({title}, "
        f"{measure.name}){sure}: larger ones are not compatible with the data."
    )


def _overview(report: Mapping[str, Any], attacks: Sequence[Attack]) -> Html:
    rows = []
    for index, attack in enumerate(attacks, start=1):
        found = widest(attack)
        link = element("a", attack.title, href=f"#attack-{index}")
        measure = (found.name, _distance(found)) if found else (NONE, NONE)
        rows.append((link, attack.question, _badge(attack.verdict), *measure))
    caption = (
        "Each attack with its widest measure: the one of which the data allow the largest distance, after minus "
        f"reference. The intervals hold for all measures together. Margin: {plain(report.get('margin'))}."
    )
    heads = ("Attack", "Question", "Verdict", "Widest measure", "Distance")
    return part("Overview", table(caption, heads, rows), identifier="overview")


def _section(attack: Attack, index: int, report: Mapping[str, Any]) -> Html:
    rows = [
        (
            measure.name,
            *(_interval(**asdict(one)) if one else NONE for one in (measure.before, measure.after, measure.reference)),
            _distance(measure),
            _badge(measure.verdict) if measure.judged else element("span", "for information", class_="soft"),
        )
        for measure in attack.measures
    ]
    caption = f"{attack.title}: measures, each with its 95 % interval; the distance is after minus reference."
    heads = ("Measure", "Before", "After", "Reference", "Distance", "Verdict")
    return part(
        attack.title,
        element("p", attack.question) if attack.question else "",
        element("p", "Verdict: ", _badge(attack.verdict)),
        table(caption, heads, rows) if rows else "",
        *(element("p", note, class_="note") for note in attack.notes),
        *_extras(attack, index, report["class"].get("id")),
        element("h3", "Not tested") if attack.skipped else "",
        bullets(*(lead(one.name, one.reason) for one in attack.skipped)),
        identifier=f"attack-{index}",
    )


def _extras(attack: Attack, index: int, forgotten: object) -> list[Html]:
    """Return the tables and plots that an attack's data allow."""
    data = attack.data or {}
    extras = []
    if attack.key == "utility" and data.get("classes"):
        rows = [
            (
                f"{row['name']} (forgotten)" if row.get("id") == forgotten else row["name"],
                *(number(row.get(key)) for key in ("inputs", *MODELS)),
            )
            for row in data["classes"]
        ]
        heads = ("Class", "Inputs", "Before", "After", "Reference")
        extras.append(table("Accuracy on each class's test inputs.", heads, rows))
    if attack.key == "reach" and data.get("norms"):
        rows = [(row["name"], *(number(row.get(key)) for key in ("norm", "relative"))) for row in data["norms"]]
        extras.append(table("Size of each group of weights.", ("Weights", "Norm", "Relative"), rows))
    plots = figures.of_attack(attack.key, data, identifier=f"attack-{index}")
    return [*extras, *(_plot(plot) for plot in plots)]


def _baselines(baselines: Mapping[str, Any]) -> Html:
    rows = baselines.get("rows") or []
    names = list(dict.fromkeys(name for row in rows for name in row.get("measures") or {}))
    heads = ("Method", "Source", "Needs data of the class", "Needs other data", "Seconds", *names)
    body = [
        (
            row["name"],
            row.get("source") or NONE,
            _yes(row.get("needs_class_data")),
            _yes(row.get("needs_other_data")),
            number(row.get("seconds")),
            *(_interval(**((row.get("measures") or {}).get(name) or {"value": None})) for name in names),
        )
        for row in rows
    ]
    caption = (
        "Other ways to forget, each number with its 95 % interval. Membership and neighbour leak are read off the "
        "outputs of the other classes, whether or not a method leaves one for the class itself."
    )
    if "epochs" in baselines:
        caption += f" The ordinary network was fine-tuned for {baselines['epochs']} epochs."
    plot = figures.tradeoff(rows, baselines.get("plot") or "", identifier="baselines-plot")
    return part(
        "Other ways to forget", table(caption, heads, body), _plot(plot) if plot else "", identifier="baselines"
    )


def _appendix(report: Mapping[str, Any]) -> Html:
    rate = report.get("error_rate")
    share = "" if rate is None else f" at an error rate of {plain(rate)}"
    citations = [f"{one.get('what', '')}: {one.get('source', '')}" for one in report.get("citations") or []]
    keys = ("schema", "time", "seed", "margin", "error_rate", "run", "bundle", "reference", "data", "made_by")
    known = {key: report[key] for key in keys if key in report}
    rows = [(" ".join(path).replace("_", " "), element("code", value)) for path, value in _leaves(known)]
    return part(
        "Appendix: method, digests and versions",
        element("h3", "Method"),
        element(
            "p",
            "A measure is one statistic of the three models on the same inputs. Its uncertainty is that of a "
            "stratified bootstrap over inputs and repetitions, drawn alike for the three, so that what the models have "
            "in common cancels in their distance. Intervals of a model's own number hold at 95 % each. Those of "
            f"distances are normal and hold for all judged measures together{share} (Bonferroni). Of several "
            f"references the nearest counts. A measure is “{INDISTINGUISHABLE}” unless that interval lies wholly "
            "beyond the margin, and also where after lies between two references. Otherwise it is "
            f"“{BETTER}” if after is significantly nearer to reference than before is, and “{STILL_KNOWS}” if not, "
            "or where before forgetting there is nothing to attack.",
        ),
        element("h3", "Sources") if citations else "",
        bullets(*citations),
        element("h3", "Digests and versions"),
        table("What was audited, with what. Digests are SHA-256.", ("What", "Value"), rows),
        identifier="appendix",
        class_="appendix",
    )


def _colophon(report: Mapping[str, Any]) -> str:
    version = (report.get("made_by") or {}).get("pfedge")
    return f"Report of {report.get('time') or 'unknown time'}" + (f", made by pfedge {version}" if version else "")


def _badge(verdict: str, *, overall: bool = False) -> Html:
    look, sign = LOOKS.get(verdict, ("", NONE))
    words = verdict or "no verdict"
    classes = f"badge {look} overall" if overall else f"badge {look}"
    sign = element("span", sign, aria_hidden="true")
    return element("span", sign, f" Verdict: {words}" if overall else f" {words}", class_=classes)


def _distance(measure: Measure) -> Html:
    if measure.judged:
        return _interval(measure.distance, measure.low, measure.high)
    return element("span", f"{number(measure.distance)}, standard error {number(measure.distance_error)}")


def _interval(value: float | None, low: float | None = None, high: float | None = None) -> Html:
    scale = max((abs(one) for one in (value, low, high) if is_finite(one)), default=0.0)
    if not (is_finite(low) and is_finite(high)):
        return element("span", number(value, scale))
    ends = element("span", f"[{number(low, scale)}, {number(high, scale)}]", class_="interval")
    return element("span", number(value, scale), " ", ends)


def _yes(value: bool | None) -> str:  # noqa: FBT001 -- the value itself
    return NONE if value is None else "yes" if value else "no"


def _leaves(value: object, *path: str) -> Iterable[tuple[tuple[str, ...], str]]:
    """Yield the path and the words of each single value in JSON objects."""
    if isinstance(value, list):
        value = dict(enumerate(value, start=2))  # further references
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _leaves(entry, *path, str(key))
    elif isinstance(value, bool):
        yield path, _yes(value)
    else:
        yield path, NONE if value is None else str(value)


def _plot(plot: figures.Plot) -> Html:
    return element("figure", Html(plot.svg), element("figcaption", plot.caption))
