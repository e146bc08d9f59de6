"""`pfedge restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.options import JsonOption
from pfedge.cli.output import print_json, say, suggest
from pfedge.cli.recovery import finish_decided


def restore(
    *,
    class_id: Annotated[str, typer.Option("--class", "-c", help="Class id or name.")],
    authority: Annotated[Path, typer.Option(help="What the authority signed (pfedge authorize).")],
    as_json: JsonOption = False,
) -> None:
    """Lift the tombstone of a forgotten class, where an authority allowed it. It is recorded in the ledger.

    The row does not come back by this: a bundle that has it is accepted again, and sealed rows need their keys anew.
    """
    from pfedge_runtime.device import DeviceState
    from pfedge_runtime.errors import SignatureError
    from pfedge_runtime.files import read_file
    from pfedge_runtime.receipts import restore as lift

    finish_decided()
    state = DeviceState.at()
    entry = lift(state, read_file(authority, SignatureError), class_id=class_id, source=str(authority))
    tombstones = state.tombstones()
    still = {row: other for row in entry.rows if (other := tombstones.find(entry.model_id, row))}
    if as_json:
        rows = [row.to_json() for row in entry.rows]
        refused = [{**row.to_json(), "request": other.request} for row, other in still.items()]
        print_json("restore", {"request": entry.request, "time": entry.time, "rows": rows, "still_refused": refused})
        return
    say(f"request {entry.request} is undone: {', '.join(row.describe() for row in entry.rows)}")
    for row, other in still.items():
        say(f"still refused: {row.describe()}, by request {other.request}, which needs its own statement")
    suggest("adopt --bundle BUNDLE")
