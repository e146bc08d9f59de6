"""Reach: what share of the trained parameters forgetting does not touch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pfedge.auditing.statistics import Attack


def reach(trained: Mapping[str, int], norms: Sequence[dict[str, Any]], *, same_bank: bool) -> Attack:
    """Return what share of trained parameters forgetting cannot touch.

    Args:
        trained: how many stand in `rows`, and how many are `shared`.
        norms: name, norm and relative norm of each shared change of a weight.
        same_bank: whether the bank after forgetting is byte for byte the reference's.
    """
    share = trained["shared"] / max(1, sum(trained.values()))
    notes = [f"{trained['shared']:,} of {sum(trained.values()):,} trained numbers ({share:.1%}) are out of reach."]
    if same_bank:
        notes.append("The bank after forgetting is byte for byte that of the model trained without the class.")
    return Attack(
        key="reach",
        title="Parameters out of reach",
        question="What was trained on the class and stays when its row goes?",
        measures=(),
        notes=tuple(notes),
        data={"share": share, **trained, "norms": list(norms)},
    )
