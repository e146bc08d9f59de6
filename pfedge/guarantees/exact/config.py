"""The recipe of guarantee `exact`."""

from __future__ import annotations

from dataclasses import dataclass, field

from pfedge.guarantees.rules import refuse_views
from pfedge.runs import TrainConfig


@dataclass(frozen=True)
class ExactConfig(TrainConfig):
    """Sums over each class's own embeddings, or over those of each of its sources.

    Raises:
        UsageError: several views: a row is of the inputs themselves.
    """

    guarantee: str = field(default="exact", init=False)

    def __post_init__(self) -> None:
        """Refuse what has no meaning here."""
        super().__post_init__()
        refuse_views(self)
