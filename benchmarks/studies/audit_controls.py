"""Do the attacks of `pfedge audit` bite where they should, and only there?

    python benchmarks/studies/audit_controls.py positive ../shared/data/medmnist   # bloodmnist, builtin:micro; an hour
    python benchmarks/studies/audit_controls.py null                             # digits, builtin:micro; an hour
    python benchmarks/studies/audit_controls.py null --references 1               # what a single reference would find

*Positive*: a model trained for long on few images, of which nothing is forgotten, in the place of the model after
forgetting. Its row is there, so that relearning it takes no step at all; `dropped` is what relearning takes once the
row is gone from a `shared` model trained as long, whose LoRA stays. *Null*: references that differ by their seed
alone, one of them in the place of the model after forgetting: models that never knew the class, which no attack should
tell apart. Each is compared with those of the next seeds, and a training serves in two comparisons at most.

With --work FOLDER trainings and shadow models are kept, and an interrupted control goes on.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from pfedge.auditing.attacks import run_model
from pfedge.auditing.case import AuditSettings, Case
from pfedge.auditing.registry import ATTACKS
from pfedge.auditing.statistics import NOTHING_FOUND, Attack, judge, worst
from pfedge.guarantees import IsolatedConfig, SharedConfig, find_guarantee, train
from pfedge.runs import MODEL, Run, TrainConfig
from pfedge.training import TrainSettings

RESULTS = Path(__file__).parents[1] / "results" / "audit_controls.json"
QUIET = Console(quiet=True)
CLASS = 3
POSITIVE = {
    guarantee: find_guarantee(guarantee).config(
        dataset="bloodmnist",
        model_name="builtin:micro",
        epochs=100,
        batch_size=16,
        train_limit=300,
    )
    for guarantee in ("isolated", "shared")
}
SHADOWS = 4
NULL = {
    "shared": SharedConfig(
        dataset="digits", model_name="builtin:micro", epochs=5, batch_size=16, lr=2e-3, train_limit=500
    ),
    "isolated": IsolatedConfig(dataset="digits", model_name="builtin:micro", epochs=5, batch_size=16, train_limit=500),
}


def trained(config: TrainConfig, folder: Path, data_root: Path | None = None) -> Run:
    """Train a run, or open it."""
    if (folder / MODEL).is_file():
        return Run.open(folder)
    settings = TrainSettings(out=folder, save_dir=folder, keep=1, eval_every=10**6, data_root=data_root, overwrite=True)
    return train(config, settings, QUIET)[0]


def positive(folder: Path, data_root: Path) -> dict[str, Any]:
    """Attack a model that has not forgotten as if it had; and one whose row alone is gone."""
    run = trained(POSITIVE["isolated"], folder / "positive-isolated", data_root)
    settings = AuditSettings(out=folder, data_root=data_root, references=1, shadows=SHADOWS)
    with Case(run, CLASS, settings, QUIET) as case:
        case.outputs = replace(case.outputs, after=case.outputs.before)
        case.subjects = replace(case.subjects, after=case.subjects.before)
        attacks = {key: ATTACKS[key](case) for key in ("membership", "relearning")}
    measures = {measure.name: measure for attack in attacks.values() for measure in attack.measures}
    found = {name: measure.after.value for name, measure in measures.items() if name.startswith("AUC")}
    found |= _times_as_fast(attacks["relearning"])
    judged = judge(tuple(attacks.values()), margin=0.1)
    run = trained(POSITIVE["shared"], folder / "positive-shared", data_root)
    with Case(run, CLASS, replace(settings, shadows=0), QUIET) as case:
        dropped = ATTACKS["relearning"](case)
    return {
        "measures": found,
        "verdicts": {attack.key: attack.verdict for attack in judged},
        "dropped": _times_as_fast(dropped),
    }


def _times_as_fast(relearning: Attack) -> dict[str, float]:
    return {
        f"times as fast, {measure.name}": measure.reference.value / measure.after.value
        for measure in relearning.measures
        if measure.name.startswith("steps")
    }


def null(folder: Path, guarantee: str, count: int, references: int) -> list[dict[str, Any]]:
    """Attack one reference of each group in the place of the model after forgetting."""
    config = NULL[guarantee]
    run = trained(config, folder / f"null-{guarantee}")
    without = replace(config, exclude=(str(CLASS),))
    shadows = SHADOWS if guarantee == "isolated" else 0
    lines: list[dict[str, Any]] = []
    for first in range(1, 1 + count * references, references):
        seeds = range(first, first + references + 1)
        other, *others = (trained(replace(without, seed=seed), folder / f"{guarantee}-{seed}") for seed in seeds)
        settings = AuditSettings(out=folder, reference=tuple(one.folder for one in others), shadows=shadows)
        with Case(run, CLASS, settings, QUIET) as case:
            lines.append({"seeds": list(seeds), **_compare_references(case, other)})
        line = lines[-1]
        print(f"{guarantee}, seeds {line['seeds']}: {line['verdict']}; furthest: {line['furthest']}", flush=True)
    return lines


def _compare_references(case: Case, other: Run) -> dict[str, Any]:
    """Judge one reference against the others."""
    model = case.load_model(other)
    with Case(other, CLASS, case.settings, QUIET) as theirs:
        graph = theirs.bundle.graph_path if case.guarantee.graph_is_trained else case.bundle.graph_path
    case.outputs = replace(case.outputs, after=run_model(graph, model.bank(), case.pool, case.outputs.index))
    again = case.white_box.subject(model, model.class_ids)
    case.subjects = replace(case.subjects, after=again)
    attacks = judge([ATTACKS[key](case) for key in ATTACKS if key != "reach"], margin=case.settings.margin)
    return {
        "verdict": worst(attack.verdict for attack in attacks),
        "furthest": _furthest(attacks),
        "distances": {
            f"{attack.key}: {measure.name}": round(measure.distance, 4)
            for attack in attacks
            for measure in attack.measures
            if measure.judged
        },
    }


def _furthest(attacks: tuple[Attack, ...]) -> str:
    measures = [measure for attack in attacks for measure in attack.measures if measure.judged]
    most = max(measures, key=lambda measure: abs(measure.distance))
    return f"{most.name} {most.distance:+.3f} [{most.low:+.3f}, {most.high:+.3f}]"


def main() -> None:
    """Run one control, and keep what it found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("control", choices=("positive", "null"))
    parser.add_argument("data_root", type=Path, nargs="?", help="where bloodmnist.npz lies")
    parser.add_argument("--count", type=int, default=10, help="comparisons of the null control, of each guarantee")
    parser.add_argument("--references", type=int, default=2, help="in each of them")
    parser.add_argument("--guarantee", choices=tuple(NULL), help="of the null control; without it, both")
    parser.add_argument("--work", type=Path, help="where trainings and shadow models are kept; without it, nowhere")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where = (options.work or Path(folder)).resolve()
        where.mkdir(exist_ok=True)
        if options.control == "positive":
            keep("positive", found := positive(where, options.data_root))
            print(json.dumps(found, indent=1))
            return
        for guarantee in (options.guarantee,) if options.guarantee else NULL:
            lines = null(where, guarantee, options.count, options.references)
            keep(f"null, {guarantee}, references: {options.references}", lines)
            same = sum(line["verdict"] in NOTHING_FOUND for line in lines)
            print(f"{guarantee}, references: {options.references}: {same} of {len(lines)} not accused")


def keep(name: str, found: Any) -> None:  # noqa: ANN401 -- JSON
    """Put what was found beside what other calls found."""
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps(results | {name: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
