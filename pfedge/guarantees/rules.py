"""What more than one guarantee refuses in a recipe."""

from __future__ import annotations

from pfedge.runs import TrainConfig
from pfedge_runtime.errors import UsageError


def refuse_source_column(config: TrainConfig) -> None:
    """Refuse rows kept apart by source.

    Raises:
        UsageError: a column is named.
    """
    if config.source_column:
        message = "--source-column needs --guarantee exact: only there is a row a function of its own inputs"
        raise UsageError(message)


def refuse_views(config: TrainConfig) -> None:
    """Refuse several views of each image.

    Raises:
        UsageError: there is more than one.
    """
    if config.views > 1:
        message = "--views needs --guarantee isolated: there what the backbone makes of each view is cached"
        raise UsageError(message)
