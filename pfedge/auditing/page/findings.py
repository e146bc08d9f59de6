"""What an attack found, in sentences: for a page whose reader need not know statistics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pfedge.auditing.page.numbers import NONE, is_finite, number
from pfedge.auditing.statistics import (
    BETTER,
    INDISTINGUISHABLE,
    NOT_SHOWN,
    NOTHING_FOUND,
    STILL_KNOWS,
    UNDECIDED,
    Attack,
    Measure,
)

NAMED = 3  # how many measures a sentence names

MEANINGS = {
    INDISTINGUISHABLE: "In every measure the data rule out a distance beyond the margin from a model that never knew "
    "the class. It holds for the attacks made here; see the limits below.",
    NOT_SHOWN: "No attack found the model after forgetting significantly further than the margin from a model that "
    "never knew the class, but the data do not rule out that one is further: that "
    "nothing was found is not that nothing is there.",
    BETTER: "At least one attack tells the model from one that never knew the class, but forgetting brought it "
    "significantly nearer to such a model. Something of the class may be left.",
    STILL_KNOWS: "At least one attack tells the model from one that never knew the class, and forgetting did not bring "
    "it significantly nearer. In this respect, treat the model as one that still knows the class.",
    UNDECIDED: "There are too few inputs of the class for an attack that matters: that the others found nothing says "
    "nothing. See what was not tested.",
}


def widest(attack: Attack) -> Measure | None:
    """Return the judged measure of which the data allow the largest distance; None where none is judged."""
    found = [measure for measure in attack.measures if measure.judged and is_finite(largest_distance(measure))]
    return max(found, key=largest_distance, default=None)


def largest_distance(measure: Measure) -> float:
    """Return how far from the reference the data allow it to be."""
    return max(abs(measure.low), abs(measure.high))


def finding(attack: Attack, margin: float | None) -> str:
    """Return what follows the badge of an attack's verdict in a sentence."""
    judged = [measure for measure in attack.measures if measure.judged]
    names = [measure.name for measure in judged if measure.verdict == attack.verdict]
    others = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    if not judged:
        first = attack.notes[0].rstrip(".") if attack.notes else "nothing was measured"
        words = ": no verdict rests on it" if attack.measures else f": {first}"
    elif attack.verdict in NOTHING_FOUND:
        words = ""
    else:
        words = f", by {len(names)} of {len(judged)} measures ({', '.join(names[:NAMED])}{others})"
    found = widest(attack)
    if found is not None and attack.verdict == NOT_SHOWN:
        words += f"; up to {number(largest_distance(found))} is possible"
    elif found is not None:
        words += f"; the distance from reference is at most {number(largest_distance(found))}"
    if found is not None and margin is not None and attack.verdict == INDISTINGUISHABLE:
        words += ", within the margin"
    return words


def at_most(attacks: Sequence[Attack], error_rate: float | None) -> str:
    """Return how far the attacks that found nothing may have been from finding something."""
    cleared = [attack for attack in attacks if attack.verdict in NOTHING_FOUND]
    found = [(attack.title, measure) for attack in cleared if (measure := widest(attack))]
    if not found:
        return "Here every attack found something."
    title, measure = max(found, key=lambda pair: largest_distance(pair[1]))
    sure = "" if error_rate is None else f", at {100 * (1 - error_rate):g} % confidence over all measures together"
    return (
        f"Over the attacks that found nothing here, the distance is at most {number(largest_distance(measure))} "
        f"({title}, {measure.name}){sure}: larger ones are not compatible with the data."
    )


def yes(value: bool | None) -> str:  # noqa: FBT001 -- the value itself
    """Return yes or no; a dash for neither."""
    return NONE if value is None else "yes" if value else "no"


def leaves(value: object, *path: str) -> Iterable[tuple[tuple[str, ...], str]]:
    """Yield the path and the words of each single value in JSON objects.

    >>> dict(leaves({"run": {"seed": 42, "more": [True]}}))
    {('run', 'seed'): '42', ('run', 'more', '2'): 'yes'}
    """
    if isinstance(value, list | tuple):
        value = dict(enumerate(value, start=2))  # further references
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from leaves(entry, *path, str(key))
    elif isinstance(value, bool):
        yield path, yes(value)
    else:
        yield path, NONE if value is None else str(value)
