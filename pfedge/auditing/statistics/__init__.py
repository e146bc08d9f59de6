"""Statistics of an attack: what a score tells, how sure that is, and what follows.

`measure` compares one statistic of three models and judges it; `membership` has the scores of membership inference;
`roc` says how well a score tells positives from negatives. Pure functions on arrays. This room imports no other room
of the audit and no torch, so that a report can be read and drawn where nothing is trained.
"""

from pfedge.auditing.statistics.measure import (
    BETTER,
    ERROR_RATE,
    INDISTINGUISHABLE,
    NOT_SHOWN,
    NOTHING_FOUND,
    STILL_KNOWS,
    UNDECIDED,
    Attack,
    BeforeAfterReference,
    Estimate,
    Measure,
    Skipped,
    Statistic,
    compare,
    from_draws,
    judge,
    worst,
)
from pfedge.auditing.statistics.membership import lira_offline, lira_online, loss_threshold, phi, rmia
from pfedge.auditing.statistics.roc import roc_curve, tpr_at_fpr

__all__ = [
    "BETTER",
    "ERROR_RATE",
    "INDISTINGUISHABLE",
    "NOTHING_FOUND",
    "NOT_SHOWN",
    "STILL_KNOWS",
    "UNDECIDED",
    "Attack",
    "BeforeAfterReference",
    "Estimate",
    "Measure",
    "Skipped",
    "Statistic",
    "compare",
    "from_draws",
    "judge",
    "lira_offline",
    "lira_online",
    "loss_threshold",
    "phi",
    "rmia",
    "roc_curve",
    "tpr_at_fpr",
    "worst",
]
