"""What an attacker computes once of a pool of inputs who owns a model: white boxes, and shadow models.

white_box = guarantee.white_box(model, pool, device=device, autocast=autocast, folder=cache, console=console)
after = white_box.subject(model, keep=(0, 1, 2))
shadows = white_box.shadows(config, forgotten=3, count=8, seed=0, say=print)
white_box.close()
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

from pfedge.guarantees.shadows import Say, Shadows
from pfedge.guarantees.subject import Subject
from pfedge.runs import TrainConfig

AttackedT_contra = TypeVar("AttackedT_contra", contravariant=True)


class WhiteBox(ABC, Generic[AttackedT_contra]):
    """A pool of inputs, and what a frozen backbone makes of them, where it is frozen."""

    @abstractmethod
    def subject(self, model: AttackedT_contra, keep: Sequence[int]) -> Subject:
        """Return a model with only the rows of the class ids in `keep`, increasing."""

    @abstractmethod
    def shadows(self, config: TrainConfig, forgotten: int, count: int, *, seed: int, say: Say) -> Shadows:
        """Train shadow models.

        Args:
            config: the recipe.
            forgotten: the class id.
            count: S, even.
            seed: of the halves.
            say: told about progress.
        """

    def close(self) -> None:
        """Give memory and disk back."""
