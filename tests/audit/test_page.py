from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from pfedge.auditing.page import charts, widest
from pfedge.auditing.page import render as render_report
from pfedge.auditing.page.tradeoff import tradeoff
from pfedge.auditing.report import AuditReport, ComparedMethod
from pfedge.auditing.statistics import (
    BETTER,
    INDISTINGUISHABLE,
    NOT_SHOWN,
    STILL_KNOWS,
    UNDECIDED,
    Attack,
    Skipped,
    from_draws,
    judge,
    worst,
)

DIGEST = "0123456789abcdef" * 4
HOSTILE = "<script>alert(1)</script>"
VOID = {"meta"}


class Page(HTMLParser):
    """What a browser makes of a page: balanced elements, their attributes, the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def measure(name, before, after, reference, *, judged=True, error=0.01):
    values = np.array([after, reference] if before is None else [before, after, reference])
    drawn = values + np.random.default_rng(0).normal(0, error, (200, len(values)))
    return from_draws(name, values, drawn, before=before is not None, judged=judged)


def attacks():
    rates = {"fpr": [0.0, 0.01, 0.1, 1.0], "tpr": [0.0, 0.03, 0.2, 1.0]}
    utility = Attack(
        "utility",
        "Utility",
        "Does it still work?",
        (measure("accuracy on the others", 0.96, 0.965, 0.97), measure("abstention", 0.03, 0.81, 0.43)),
        notes=("Utility is no attack.",),
        data={
            "classes": [
                {"id": 3, "name": "ig", "inputs": 60, "before": 0.95, "after": None, "reference": None},
                {"id": 4, "name": "lymphocyte", "inputs": 61, "before": 0.951, "after": 0.962, "reference": 0.973},
            ],
            "landing": [
                {"name": name, "before": 0.1, "after": after, "reference": None}
                for name, after in (("abstained", 0.8), ("lymphocyte", 0.2), ("ig", None))
            ],
        },
    )
    membership = Attack(
        "membership",
        "Membership inference",
        "Which inputs was it trained on?",
        (measure("AUC, loss threshold", 0.7, 0.52, 0.5), measure("TPR at 1 % FPR", 0.1, 0.02, 0.01, judged=False)),
        (Skipped("RMIA", "too few shadow models"),),
        data={
            "roc": {"loss threshold": {"before": None, "after": rates, "reference": rates}, "LiRA": {"after": rates}}
        },
    )
    representation = Attack(
        "representation",
        "Probes",
        "Do the features tell?",
        (measure("recovery, 5 shots", 0.9, 0.7, 0.4),),
        data={
            "recovery": {
                name: {"shots": [5, 20, 100], "before": [0.8, 0.9, 1.0], "after": [0.7, None, 0.9], "reference": None}
                for name in ("pooled features", "logits")
            }
        },
    )
    relearning = Attack(
        "relearning",
        "Relearning",
        "How fast is it learnt again?",
        (measure("gain after 10 steps", None, 0.8, 0.5),),
        data={
            "curves": [
                {"shots": shots, "steps": steps, "before": None, "after": [0.5] * len(steps), "reference": None}
                for shots, steps in ((5, [0, 1, 2, 5, 10, 20, 50, 100]), (20, [0, 10]))
            ]
        },
    )
    inversion = Attack("inversion", "Inversion", "", (), (Skipped("inversion of the head", "no row to invert"),))
    reach = Attack(
        "reach",
        "Reach",
        "What is left?",
        (measure("share out of reach", 0.0, 0.0, 0.0, judged=False),),
        data={"norms": [{"name": "LoRA", "norm": 12.3456, "relative": 1.2e-7}, {"name": "row", "norm": None}]},
    )
    neighbour = Attack(
        "neighbour", "Neighbours", "Do others give it away?", (measure("AUC", 0.9, 0.5, 0.5),), data={"roc": {"a": {}}}
    )
    return (utility, membership, representation, relearning, inversion, reach, neighbour)


def report_of(*found: Attack, **changes):
    judged = judge(found, margin=0.1)
    return {
        "schema": "pfedge-audit/1",
        "time": "2026-11-24T05:00:00Z",
        "class": {"id": 3, "name": "ig"},
        "verdict": worst(attack.verdict for attack in judged),
        "margin": 0.1,
        "error_rate": 0.05,
        "seed": 0,
        "run": {"name": "demo", "dataset": "blood112", "guarantee": "exact", "seed": 43, "model_sha256": DIGEST},
        "bundle": {"model_id": DIGEST[:16], "device": "cpu", "precision": "fp32"},
        "reference": {"model_sha256": DIGEST, "train_seconds": 533.2, "same_graph": True, "same_bank": True},
        "data": {"sha256": DIGEST, "inputs": {"members": 300, "others, test": 420}},
        "made_by": {"pfedge": "0.1.0", "torch": "2.8.0"},
        "citations": [{"what": "logarithmic axes", "source": "Carlini et al. 2022, https://arxiv.org/abs/2112.03570"}],
        "attacks": [attack.to_json() for attack in judged],
        **changes,
    }


def full_report():
    def row(name, seconds, value, **needs):
        measures = {"distance of recovery": {"value": value, "low": None, "high": None}}
        measures["retained accuracy"] = {"value": 0.96, "low": 0.94, "high": 0.97}
        return {"name": name, "source": "somebody", "seconds": seconds, "measures": measures, **needs}

    rows = [
        row("retraining", 5600.0, 0.0, needs_class_data=False, needs_other_data=True),
        row("gradient ascent", 20, 0.25, needs_class_data=True, needs_other_data=False),
        row("nothing done", None, 0.3),
        {"name": "no measures", "seconds": 0},
    ]
    return report_of(*attacks(), baselines={"rows": rows, "plot": "distance of recovery"})


FULL = full_report()


@pytest.fixture
def full():
    return copy.deepcopy(FULL)


@pytest.fixture(scope="module")
def rendered():
    return render(FULL)


def render(report):
    return render_report(AuditReport.from_json(report))


def minimal():
    return {"class": {"id": 3, "name": "ig"}, "attacks": []}


def strings_replaced(value, hostile):
    """Return JSON values with hostile text in the place of each string, and in keys that are names."""
    if isinstance(value, dict):
        return {key: strings_replaced(entry, hostile) for key, entry in value.items()}
    if isinstance(value, list):
        return [strings_replaced(entry, hostile) for entry in value]
    return hostile if isinstance(value, str) else value


def test_page_parses_and_has_every_plot_and_table(rendered):
    page = Page(rendered)
    assert page.count("h1") == 1
    assert page.count("svg") == page.count("figure") == page.count("figcaption") == 6
    assert page.count("table") == page.count("caption") == 1 + 6 + 2 + 1 + 1


def test_title_and_verdict_come_first(rendered):
    page = Page(rendered)
    head = page.text[: page.text.index("Summary")]
    assert "Audit: forgetting ig (class 3) — blood112, guarantee exact" in head
    assert "Verdict: still knows" in head


def test_nothing_outside_of_the_page_is_referred_to(rendered):
    page = Page(rendered)
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "img", "iframe", "object", "base", "form"}
        assert not {"src", "srcset", "action", "data", "xmlns", "onload", "onclick"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert set(re.findall(r"url\((.)", rendered)) <= {"#"}
    assert "@import" not in rendered
    assert re.findall(r"https?://\S+", rendered) == ["https://arxiv.org/abs/2112.03570</li>"]


def test_what_is_referred_to_is_there_once(rendered):
    elements = Page(rendered).elements
    names = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(names) == len(set(names))
    targets = {attributes["href"][1:] for _, attributes in elements if "href" in attributes}
    assert targets | set(re.findall(r"url\(#([^)]*)\)", rendered)) <= set(names)


def test_figures_have_words_for_those_who_do_not_see_them(rendered):
    assert rendered.count('<svg role="img"') == rendered.count("<svg ")
    assert len(re.findall(r"<svg [^>]*><title>[^<]{20,}</title>", rendered)) == 6


def test_same_report_gives_the_same_bytes(rendered):
    assert render(json.loads(json.dumps(FULL))) == rendered


def test_hostile_class_is_escaped_everywhere_even_in_plots(full):
    page = render(strings_in_names(full, "ig", HOSTILE))
    assert "<script" not in page
    assert Page(page).text.count(HOSTILE) >= 4  # h1, title, summary, table of classes
    plot = page[page.index("Bar chart") : page.index("</svg>")]
    assert "&lt;script&gt;" in plot


def strings_in_names(value, name, other):
    return json.loads(json.dumps(value).replace(f'"name": "{name}"', f'"name": "{other}"'))


@pytest.mark.parametrize(
    "hostile",
    ["\"><img src=x onerror='alert(1)'>", "--></style><b>", "$\\frac{$ &lt;b&gt;", "_hidden"],
)
def test_every_string_of_the_report_is_escaped(full, hostile):
    report = strings_replaced(full, hostile)
    for attack, original in zip(report["attacks"], full["attacks"], strict=True):
        attack["key"] = original["key"]
        for key, value in original["data"].items():
            if isinstance(value, dict):  # names stand in keys here
                attack["data"][key] = {hostile: next(iter(value.values()))}
    report["data"]["inputs"] = {hostile: 3}
    for row in report["baselines"]["rows"]:
        row["measures"] = {hostile: {"value": 0.5, "low": 0.4, "high": 0.6}}
    page = Page(render(report))
    assert not {"script", "img", "b"} & {tag for tag, _ in page.elements}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.count("svg") == 6
    assert hostile in page.text


def test_text_that_hides_or_turns_other_text_is_made_visible():
    report = minimal()
    report["class"]["name"] = "ig\u202e\x00\udc80"
    page = render(report)
    page.encode()
    assert "ig���" in page


def test_every_measure_and_every_reason_is_told(rendered):
    page = Page(rendered)
    for attack in FULL["attacks"]:
        for entry in attack["measures"]:
            assert entry["name"] in page.text
            assert f"{entry['after']['value']:.3f}" in page.text
        for entry in attack["skipped"]:
            assert page.text.count(entry["reason"]) == 2  # in the summary, and with its attack
        assert all(note in page.text for note in attack["notes"])
    assert page.text.count("for information") == 2


def test_numbers_stand_with_their_intervals():
    found = measure("accuracy", 0.5, 0.75, -0.25)
    page = Page(render(report_of(Attack("other", "Other", "", (found,)))))
    low, high = (f"{end:.3f}".replace("-", "\N{MINUS SIGN}") for end in (found.reference.low, found.reference.high))
    assert f"\N{MINUS SIGN}0.250 [{low}, {high}]" in page.text
    (judged,) = judge([Attack("other", "Other", "", (found,))], margin=0.1)
    assert f"1.000 [{judged.measures[0].low:.3f}, {judged.measures[0].high:.3f}]" in page.text


def test_widest_measure_is_the_one_that_reaches_furthest():
    near, far = measure("near", 0.5, 0.6, 0.5), measure("far", 0.5, 0.2, 0.5)
    loud = measure("loud", 0.5, 9.0, 0.5, judged=False)
    (attack,) = judge([Attack("x", "X", "", (near, far, loud))], margin=0.1)
    found = widest(attack)
    assert found is not None
    assert found.name == "far"
    assert widest(Attack("x", "X", "", (loud,))) is None


@pytest.mark.parametrize("verdict", [INDISTINGUISHABLE, NOT_SHOWN, BETTER, STILL_KNOWS, UNDECIDED])
def test_summary_explains_each_verdict_and_says_which_is_given(verdict):
    page = Page(render({**minimal(), "verdict": verdict}))
    summary = page.text[page.text.index("What a verdict means") : page.text.index("What the attacks found")]
    assert all(words in summary for words in (INDISTINGUISHABLE, NOT_SHOWN, BETTER, STILL_KNOWS))
    assert f"{verdict} (the verdict of this audit)" in summary
    assert summary.count("the verdict of this audit") == 1


def test_summary_says_how_large_a_distance_the_data_cannot_rule_out():
    sharp = Attack("a", "Sharp", "", (measure("m", 0.9, 0.52, 0.5, error=0.001),))
    blunt = Attack("b", "Blunt", "", (measure("m", 0.9, 0.52, 0.5, error=0.2),))
    page = Page(render(report_of(sharp, blunt))).text
    assert re.search(
        r"Sharp : ✓ indistinguishable from never trained ; [^;]* is at most 0\.02\d, within the margin", page
    )
    assert re.search(r"Blunt : ○ no difference beyond the margin shown ; up to 0\.\d+ is possible", page)
    assert re.search(r"the distance is at most 0\.[^0]\d+ \(Blunt, m\), at 95 % confidence", page)


def test_measures_that_a_bad_verdict_rests_on_are_named():
    found = (measure("harmless", 0.9, 0.5, 0.5), measure("telling", 0.9, 0.9, 0.5))
    page = Page(render(report_of(Attack("a", "Attack", "", found)))).text
    assert "still knows , by 1 of 2 measures (telling)" in page


def test_proof_stands_where_the_banks_are_the_same_and_the_guarantee_is_exact(full):
    proof, contradiction = "byte for byte that of the model", "Here it is not."
    other = {**full, "attacks": [], "baselines": None}
    assert proof in Page(render(other)).text
    assert contradiction not in Page(render(other)).text
    other["reference"]["same_bank"] = False
    assert contradiction in Page(render(other)).text
    for guarantee in ("shared", "isolated"):
        other["run"]["guarantee"] = guarantee
        other["reference"]["same_bank"] = True
        assert proof not in Page(render(other)).text


def test_further_references_are_told_of(full):
    assert "from several references only; here there is one." in Page(render(full)).text
    full["reference"]["more"] = [{"model_sha256": "c" * 64, "seed": 43, "train_seconds": 1.0}]
    page = Page(render(full)).text
    assert "There are 2, trained from seeds of their own" in page
    assert "reference more 2 seed 43" in page


def test_minimal_report():
    page = Page(render(minimal()))
    assert "Verdict: no verdict" in page.text
    assert page.count("svg") == 0


def test_unknown_attack_still_shows_its_measures():
    found = Attack("brand-new", "Brand new", "What?", (measure("novelty", 0.5, 0.5, 0.5),), data={"roc": "unheard of"})
    page = Page(render(report_of(found)))
    assert "novelty" in page.text
    assert page.count("svg") == 0


def test_attacks_without_any_data(full):
    for attack in full["attacks"]:
        attack["data"] = {}
    assert Page(render(full)).count("svg") == 1  # that of the baselines


def test_nulls_in_the_place_of_every_number(full):
    def nulled(value):
        if isinstance(value, dict):
            return {key: nulled(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [nulled(entry) for entry in value]
        return None if isinstance(value, float) else value

    page = Page(render(nulled(full)))
    assert "nan" not in page.text.replace("unnamed", "").lower().split()
    assert "None" not in page.text


def test_baselines_that_cannot_be_drawn_are_named(rendered, full):
    assert "Not drawn, for want of a number: nothing done, no measures." in Page(rendered).text
    del full["baselines"]["plot"]
    assert Page(render({**full, "attacks": []})).count("svg") == 0


def test_straight_roc_curve_lies_on_the_line_of_guessing():
    """Corners stand in the report: joined on logarithmic axes as they are, they would lie elsewhere."""
    curve = {"fpr": [0.0, 0.5, 0.5, 1.0], "tpr": [0.0, 0.5, 0.9, 1.0]}
    false, true = charts._for_log_axes(curve)
    below = (false > 1e-3) & (false < 0.5)
    assert below.sum() > 50
    assert np.allclose(false[below], true[below])
    assert {(0.5, 0.5), (0.5, 0.9)} <= set(zip(false.tolist(), true.tolist(), strict=True))


def test_rare_answers_are_left_out_of_the_plot_and_counted():
    rows = [{"name": f"class {number}", "before": number / 100, "after": 0.0, "reference": 0.0} for number in range(20)]
    plot = charts.landing(rows, identifier="a")
    assert "class 19" in plot.svg
    assert "class 2<" not in plot.svg
    assert "8 rarer answers" in plot.caption


def test_models_in_a_plot_are_told_apart_by_more_than_colour():
    styles = charts.STYLES.values()
    for quality in ("colour", "line", "marker", "hatch"):
        assert len({getattr(style, quality) for style in styles}) == len(styles)


def test_labels_of_close_points_do_not_cover_each_other():
    rows = [
        ComparedMethod.from_json(
            {"name": f"method {number}", "seconds": 1.0, "measures": {"m": {"value": 0.1 + number / 1e6}}}
        )
        for number in range(9)
    ]
    plot = tradeoff(rows, "m", identifier="a")
    assert plot is not None
    heights = sorted(float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>method', plot.svg))
    assert len(heights) == 9
    assert min(np.diff(heights)) > 9


def test_page_prints_and_says_so():
    page = render(minimal())
    assert "@media print" in page
    assert "@page" in page
