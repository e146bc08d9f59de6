"""The models that are attacked through torch, and the inputs that they are attacked with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pfedge.data import TEST, TRAIN, VAL, Pool
from pfedge.guarantees import Index, Subject

MIN_INPUTS = 20
OTHERS = 100  # training inputs of each other class that an attacker has
MODELS = ("before", "after", "reference")


@dataclass(frozen=True)
class Subjects:
    """The models, and the inputs that they are attacked with.

    Attributes:
        forgotten: the class id.
        pool: the inputs.
        before: before forgetting, with all rows.
        after: after forgetting.
        reference: the model trained without the class.
        seed: of every draw.
        more: further references, of other seeds.
    """

    forgotten: int
    pool: Pool
    before: Subject
    after: Subject
    reference: Subject
    seed: int
    more: tuple[Subject, ...] = ()

    def models(self) -> dict[str, Subject]:
        """Return the models by name: before, after, reference, reference 2, ..."""
        more = {f"reference {number}": subject for number, subject in enumerate(self.more, start=2)}
        return {"before": self.before, "after": self.after, "reference": self.reference, **more}

    @property
    def others(self) -> tuple[int, ...]:
        """The classes that stay."""
        return self.reference.class_ids

    def members(self) -> Index:
        """Return training inputs of the forgotten class."""
        return self.pool.find(TRAIN, [self.forgotten])

    def held_out(self) -> Index:
        """Return validation and test inputs of the forgotten class."""
        return self.pool.find((VAL, TEST), [self.forgotten])

    def tested(self) -> Index:
        """Return test inputs of the forgotten class."""
        return self.pool.find(TEST, [self.forgotten])

    def train_of_others(self, limit: int) -> Index:
        """Return at most `limit` training inputs of each other class."""
        return np.concatenate([self.pool.find(TRAIN, [class_id])[:limit] for class_id in self.others])

    def test_of_others(self, limit: int) -> Index:
        """Return at most `limit` test inputs of all other classes, evenly spread."""
        found = self.pool.find(TEST, self.others)
        return found[np.unique(np.linspace(0, len(found) - 1, min(limit, len(found))).round().astype(np.int64))]

    def lacking(self, needed: int) -> str:
        """Return why there are too few inputs of the class; empty if there are enough."""
        members, held_out = len(self.members()), len(self.held_out())
        if members >= needed and held_out >= MIN_INPUTS:
            return ""
        return f"it needs {needed} training and {MIN_INPUTS} held-out inputs of the class, has {members} and {held_out}"
