"""What an attack measured, and what follows from it.

    measure = compare("AUC, loss threshold", auc, BeforeAfterReference(before, after, reference), strata, seed=0)
    audit = judge(attacks, margin=0.1)

A measure is one statistic of three models on the same inputs. Its uncertainty is that of a stratified bootstrap over
inputs and repetitions, drawn alike for the three (Efron and Tibshirani, An Introduction to the Bootstrap, 1993): what
the models have in common cancels in their distance. That two trainings differ by chance is not in it: where there are
several references, it is the nearest that counts, and a model that lies between two is as far as they are apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.files import finite

DRAWS = 1000
ERROR_RATE = 0.05
INDISTINGUISHABLE = "indistinguishable from never trained"
NOT_SHOWN = "no difference beyond the margin shown"
BETTER = "better than before"
STILL_KNOWS = "still knows"
VERDICTS = (INDISTINGUISHABLE, NOT_SHOWN, BETTER, STILL_KNOWS)  # from best to worst
NOTHING_FOUND = frozenset({INDISTINGUISHABLE, NOT_SHOWN})  # no attack found the class, which is not to say it is gone
UNDECIDED = "too little to judge"  # of a whole audit

Statistic = Callable[[NDArray[Any]], float]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class BeforeAfterReference:
    """The same quantity of the three models, `[N, D, ...]`: N inputs, D repetitions.

    Attributes:
        before: before forgetting; None where an attack has nothing to work on there.
        after: after forgetting.
        reference: of the model trained without the class.
        more: of further references, of other seeds.
    """

    before: NDArray[Any] | None
    after: NDArray[Any]
    reference: NDArray[Any]
    more: tuple[NDArray[Any], ...] = ()

    @classmethod
    def of(
        cls,
        before: NDArray[Any] | None,
        after: NDArray[Any],
        reference: NDArray[Any],
        *more: NDArray[Any],
    ) -> BeforeAfterReference:
        """Return the arrays of models in this order."""
        return cls(before, after, reference, more)

    def models(self) -> list[NDArray[Any]]:
        """Return the arrays there are, in order."""
        return [part for part in (self.before, self.after, self.reference, *self.more) if part is not None]

    def map(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> BeforeAfterReference:
        """Return `change` of all."""
        before = None if self.before is None else change(self.before)
        return BeforeAfterReference.of(before, *(change(part) for part in (self.after, self.reference, *self.more)))


@dataclass(frozen=True)
class Measure:
    """One statistic of three models.

    Attributes:
        name: what it is, within its attack.
        before: before forgetting; None where the attack has nothing to work on there.
        after: after forgetting.
        reference: of the model trained without the class; of several, of that whose value is nearest to after's.
        distance: after minus reference.
        distance_error: its standard error.
        gain: how much nearer to the reference it is after than it was before; None without a before.
        gain_error: its standard error.
        references: the values of all references.
        judged: whether the verdict rests on it; others are told for what they show.
        verdict: what follows; empty before `judge`, and where it is not judged.
        low: lower end of the distance's interval that the verdict rests on, simultaneous over all measures judged.
        high: upper end.
    """

    name: str
    before: Estimate | None
    after: Estimate
    reference: Estimate
    distance: float
    distance_error: float
    gain: float | None
    gain_error: float | None
    references: tuple[float, ...] = ()
    judged: bool = True
    verdict: str = ""
    low: float = math.nan
    high: float = math.nan

    @property
    def between(self) -> bool:
        """Whether after lies between two references, which differ from each other by chance alone."""
        return bool(self.references) and min(self.references) <= self.after.value <= max(self.references)


@dataclass(frozen=True)
class Skipped:
    """A measure that was not taken, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Attack:
    """One attack's outcome.

    Attributes:
        key: short, fit for a file name: `membership`.
        title: for people: `Membership inference`.
        question: what it asks, in plain words.
        measures: what was measured.
        skipped: what was not, and why.
        notes: what a reader should know to read the numbers.
        data: more for tables and plots, JSON values; see `pfedge.auditing.page.page`.
        verdict: the worst of its measures; empty where none is judged.
    """

    key: str
    title: str
    question: str
    measures: tuple[Measure, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    verdict: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; a number that is none is null."""
        value: dict[str, Any] = finite(asdict(self))
        for measure in value["measures"]:
            if not measure["references"]:  # reports of before there were several have none
                del measure["references"]
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Attack:
        """Return what `to_json` gave."""
        measures = []
        for entry in value["measures"]:
            parts = {key: Estimate(**_numbers(entry[key])) for key in ("before", "after", "reference") if entry[key]}
            numbers = _numbers({key: entry[key] for key in ("distance", "distance_error", "low", "high")})
            references = tuple(math.nan if one is None else one for one in entry.get("references", ()))
            measures.append(Measure(**{**entry, **parts, **numbers, "references": references}))
        skipped = tuple(Skipped(**entry) for entry in value["skipped"])
        return cls(**{**value, "measures": tuple(measures), "skipped": skipped, "notes": tuple(value["notes"])})


def compare(
    name: str,
    statistic: Statistic,
    trio: BeforeAfterReference,
    strata: NDArray[np.int64],
    *,
    seed: int,
    judged: bool = True,
) -> Measure:
    """Measure a statistic on three models.

    Args:
        name: what it is.
        statistic: of `[N, D, ...]`, a number; the order of inputs within a stratum and of repetitions must not matter,
            and inputs stand in the order of `strata`, sorted.
        trio: what it is a statistic of.
        strata: int64 `[N]`, sorted; inputs are resampled within each, so that their numbers stay.
        seed: of the bootstrap.
        judged: whether the verdict shall rest on it.
    """
    rng = np.random.default_rng(seed)
    bounds = np.searchsorted(strata, np.unique(strata))
    sizes = np.diff([*bounds, len(strata)])
    models = trio.models()
    repetitions = models[0].shape[1]
    drawn = np.empty((DRAWS, len(models)))
    for draw in range(DRAWS):
        inputs = np.concatenate(
            [start + rng.integers(size, size=size) for start, size in zip(bounds, sizes, strict=True)]
        )
        columns = rng.integers(repetitions, size=repetitions)
        drawn[draw] = [statistic(model[inputs][:, columns]) for model in models]
    values = np.array([statistic(model) for model in models])
    return from_draws(name, values, drawn, before=trio.before is not None, judged=judged)


def from_draws(
    name: str, values: NDArray[np.float64], drawn: NDArray[np.float64], *, before: bool, judged: bool = True
) -> Measure:
    """Return a measure of what models have, `[M]`, and what a bootstrap drew, `[draws, M]`.

    Args:
        name: what it is.
        values: before, if there is one, after, and every reference.
        drawn: of the same models.
        before: whether there is one.
        judged: whether the verdict shall rest on it.
    """
    ends = np.quantile(drawn, (0.025, 0.975), axis=0)
    estimates = [
        Estimate(float(value), float(min(low, value)), float(max(high, value)))
        for value, low, high in zip(values, *ends, strict=True)
    ]
    own = 1 if before else 0
    nearest = own + 1 + int(np.abs(values[own] - values[own + 1 :]).argmin())
    after, reference = values[own], values[nearest]
    spread = drawn[:, own] - drawn[:, nearest]
    gain = gain_error = None
    if before:
        gain = float(abs(values[0] - reference) - abs(after - reference))
        gain_error = float((np.abs(drawn[:, 0] - drawn[:, nearest]) - np.abs(spread)).std(ddof=1))
    return Measure(
        name=name,
        before=estimates[0] if before else None,
        after=estimates[own],
        reference=estimates[nearest],
        distance=float(after - reference),
        distance_error=float(spread.std(ddof=1)),
        gain=gain,
        gain_error=gain_error,
        references=tuple(map(float, values[own + 1 :])),
        judged=judged,
    )


def judge(attacks: Sequence[Attack], *, margin: float) -> tuple[Attack, ...]:
    """Return the attacks with verdicts.

    A measure is *indistinguishable* where the interval of its distance from the reference lies inside of the margin.
    Where the interval only reaches into it, *no difference beyond the margin is shown*, and as much as the interval's
    further end is possible. Where the distance is significantly beyond the margin, in either direction, it is *better
    than before* if it came significantly nearer to the reference, and *still knows* if it did not. Significantly
    means at 5 % over all measures together (Bonferroni). The intervals are those of these trained models over inputs
    and repetitions; that two trainings of one recipe differ by chance is what the margin is for, and further
    references: a measure that lies between two of them is never accused.

    Args:
        attacks: as measured.
        margin: distances up to it are of no interest.
    """
    judged = [measure for attack in attacks for measure in attack.measures if measure.judged]
    count = sum(
        measure.distance != 0 or measure.distance_error != 0 for measure in judged
    )  # else equal by construction
    limit = NormalDist().inv_cdf(1 - ERROR_RATE / (2 * max(1, count)))
    return tuple(_judge_attack(attack, margin, limit) for attack in attacks)


def worst(verdicts: Iterable[str]) -> str:
    """Return the worst of some verdicts; empty of none.

    >>> worst([INDISTINGUISHABLE, STILL_KNOWS, ""])
    'still knows'
    """
    return max((verdict for verdict in verdicts if verdict), key=VERDICTS.index, default="")


def _judge_attack(attack: Attack, margin: float, limit: float) -> Attack:
    measures = tuple(_judge_measure(measure, margin, limit) for measure in attack.measures)
    return replace(attack, measures=measures, verdict=worst(measure.verdict for measure in measures))


def _judge_measure(measure: Measure, margin: float, limit: float) -> Measure:
    if not measure.judged:
        return measure
    low = measure.distance - limit * measure.distance_error
    high = measure.distance + limit * measure.distance_error
    if -margin <= low and high <= margin:
        verdict = INDISTINGUISHABLE
    elif measure.between or (low <= margin and high >= -margin):
        verdict = NOT_SHOWN
    elif measure.gain is not None and measure.gain > limit * (measure.gain_error or 0):
        verdict = BETTER
    else:
        verdict = STILL_KNOWS
    return replace(measure, verdict=verdict, low=low, high=high)


def _numbers(value: dict[str, float | None]) -> dict[str, float]:
    return {key: math.nan if number is None else number for key, number in value.items()}
