"""The recipe of guarantee `shared`."""

from __future__ import annotations

from dataclasses import dataclass, field

from pfedge.guarantees.rules import refuse_source_column, refuse_views
from pfedge.runs import TrainConfig


@dataclass(frozen=True)
class SharedConfig(TrainConfig):
    """The paper's recipe: rows and LoRA, all classes at once.

    Raises:
        UsageError: several views, or rows kept apart by source.
    """

    guarantee: str = field(default="shared", init=False)

    def __post_init__(self) -> None:
        """Refuse what has no meaning here."""
        super().__post_init__()
        refuse_source_column(self)
        refuse_views(self)
