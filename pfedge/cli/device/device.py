"""`pfedge device`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.output import print_json, say, suggest
from pfedge.cli.recovery import finish_decided
from pfedge_runtime.errors import StateError


def device(
    *,
    public_key: Annotated[Path | None, typer.Option(help="Write the device's public key to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show this device's key, state folder and floor; what others need to check its receipts."""
    from pfedge_runtime.device import DeviceState
    from pfedge_runtime.files import require_vacant, write_atomic

    finish_decided()
    state = DeviceState.at()
    ledger = state.ledger()
    if ledger.key is None:
        message = f"this device has no state yet ({state.path}): pfedge adopt or the first pfedge forget makes it"
        raise StateError(message)
    if public_key is not None:
        require_vacant(public_key)
        write_atomic(public_key, ledger.key.to_pem())
    floor = state.floor.read()
    result = {"key": ledger.key.id, "state": str(state.path), "lines": len(ledger.entries), "floor": floor and floor[1]}
    if as_json:
        print_json("device", result)
    else:
        say(f"key     {result['key']}")
        say(f"state   {result['state']}")
        say(f"ledger  {result['lines']} lines, floor {result['floor']}")
        suggest("ledger export FOLDER")
