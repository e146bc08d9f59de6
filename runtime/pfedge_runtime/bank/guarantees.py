"""What forgetting promises: the runtime's half of each guarantee, in one registry.

>>> guarantee("exact").bank.FORMAT
'pfedge-statistics/1'
"""

from __future__ import annotations

from dataclasses import dataclass

from pfedge_runtime.bank.prompt_bank import PromptBank
from pfedge_runtime.bank.protocol import Bank
from pfedge_runtime.bank.statistics_bank import StatisticsBank
from pfedge_runtime.errors import UsageError


@dataclass(frozen=True)
class Guarantee:
    """What forgetting promises, and what follows from it on a device.

    Attributes:
        name: as manifests, ledgers and receipts have it.
        bank: the kind of bank that a bundle of this guarantee has.
    """

    name: str
    bank: type[Bank]


GUARANTEES = {
    one.name: one
    for one in (
        Guarantee("shared", PromptBank),
        Guarantee("isolated", PromptBank),
        Guarantee("exact", StatisticsBank),
    )
}
BANKS: dict[str, type[Bank]] = {one.bank.FORMAT: one.bank for one in GUARANTEES.values()}  # by their format


def guarantee(name: str) -> Guarantee:
    """Return the guarantee of that name.

    Raises:
        UsageError: there is none; the message names those that there are.
    """
    if name not in GUARANTEES:
        message = f"unknown guarantee {name!r}; this version knows {', '.join(GUARANTEES)}"
        raise UsageError(message)
    return GUARANTEES[name]
