"""The recipe of guarantee `isolated`."""

from __future__ import annotations

from dataclasses import dataclass, field

from pfedge.guarantees.rules import refuse_source_column
from pfedge.runs import TrainConfig


@dataclass(frozen=True)
class IsolatedConfig(TrainConfig):
    """Rows alone, all classes at once, on what a frozen backbone makes of one or several views of each image.

    Raises:
        UsageError: rows kept apart by source.
    """

    guarantee: str = field(default="isolated", init=False)

    def __post_init__(self) -> None:
        """Refuse what has no meaning here."""
        super().__post_init__()
        refuse_source_column(self)
