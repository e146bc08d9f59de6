"""What every verb of the device does first: finish forgets that were decided and killed."""

from __future__ import annotations

from pathlib import Path

from pfedge.cli.output import say


def finish_decided(bundle: Path | None = None) -> None:
    """Finish forgets that were killed, one whose bundle was moved at `bundle`; warn of those that cannot be finished.

    Raises:
        LedgerError, StateError: what the device remembers cannot be trusted.
    """
    from pfedge_runtime.forgetting import recover_or_say

    for problem in recover_or_say(at=bundle):
        warn(problem)


def warn(problem: str) -> None:
    """Print a problem on stderr, and go on."""
    say(f"warning: {problem}", err=True)
