"""What every verb of the device does first: finish forgets that were decided and killed."""

from __future__ import annotations

from pathlib import Path

import typer


def finish_decided(bundle: Path | None = None) -> None:
    """Finish them, one whose bundle was moved at `bundle`; say on stderr what cannot be finished, and go on.

    Raises:
        LedgerError, StateError: what the device remembers cannot be trusted.
    """
    from pfedge_runtime.errors import StorageError
    from pfedge_runtime.forgetting import recover

    try:
        problems = recover(at=bundle)
    except StorageError as error:  # a device that cannot write refuses the rows all the same
        problems = [str(error)]
    for problem in problems:
        typer.echo(f"warning: {problem}", err=True)
