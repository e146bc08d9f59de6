"""The attacks of an audit, by key, in the order of the report.

    attack = ATTACKS["membership"](case)

A new attack is a module in `pfedge.auditing.attacks` and a line here, which says what of the case it is given.
"""

from __future__ import annotations

from collections.abc import Callable

from rich.progress import Progress

from pfedge.auditing.attacks import (
    Subjects,
    inversion,
    membership,
    neighbour,
    reach,
    relearning,
    representation,
    utility,
)
from pfedge.auditing.case import Case
from pfedge.auditing.identity import train_seconds
from pfedge.auditing.statistics import Attack
from pfedge.progress import bars

ATTACKS: dict[str, Callable[[Case], Attack]] = {
    "utility": lambda case: utility(case.outputs, case.run.config.classes, seed=case.settings.seed),
    "membership": lambda case: membership(case.outputs, case.shadows, _why_no_shadows(case), seed=case.settings.seed),
    "representation": lambda case: _white_box("representation", representation, case),
    "relearning": lambda case: _white_box("relearning", relearning, case),
    "inversion": lambda case: _white_box("inversion", inversion, case),
    "neighbour": lambda case: neighbour(case.outputs, seed=case.settings.seed),
    "reach": lambda case: reach(
        case.model.trained_parameters(), case.guarantee.shared_norms(case.model), same_bank=case.same_bank
    ),
}


def _white_box(name: str, attack: Callable[[Subjects, Callable[[], None]], Attack], case: Case) -> Attack:
    """Make an attack on the models opened in torch, under a bar that shows that it goes on."""
    with bars(case.console) as progress:
        return attack(case.subjects, _ticker(progress, name))


def _why_no_shadows(case: Case) -> str:
    minutes = max(1, round(train_seconds(case.references[0]) / 120))  # half of the data
    return f"it needs shadow models, each about {minutes} minutes of training here: --shadows 8 makes them"


def _ticker(progress: Progress, name: str) -> Callable[[], None]:
    bar = progress.add_task(name, total=None)
    return lambda: progress.advance(bar)
