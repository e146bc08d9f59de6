"""`pfedge authorize`, `pfedge restore`: undoing a forget, for which a device needs another's signature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.recovery import finish_decided


def authorize(
    receipt: Annotated[Path, typer.Argument(help="The receipt of the forget that may be undone.")],
    *,
    key: Annotated[Path, typer.Option(help="The authority's private key; no device has it.")],
    device: Annotated[Path, typer.Option(help="The public key of the device that gave the receipt.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the statement goes.")] = Path("restore.json"),
) -> None:
    """Sign that the device of a receipt may accept its rows again. For that forget and that device only."""
    from pfedge_runtime.errors import SignatureError
    from pfedge_runtime.files import read_file, require_vacant, write_atomic
    from pfedge_runtime.receipts import Receipt
    from pfedge_runtime.receipts import authorize as sign
    from pfedge_runtime.signing import PrivateKey, PublicKey

    require_vacant(out)
    given = Receipt.verify(read_file(receipt, SignatureError), [PublicKey.load(device)], source=str(receipt))
    write_atomic(out, sign(given, PrivateKey.load(key)))
    typer.echo(f"{out}: device {given.device[:16]} may accept {', '.join(row.describe() for row in given.rows)} again")


def restore(
    *,
    class_id: Annotated[int, typer.Option("--class", "-c", help="Class id.")],
    authority: Annotated[Path, typer.Option(help="What the authority signed (pfedge authorize).")],
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
    typer.echo(f"request {entry.request} is undone: {', '.join(row.describe() for row in entry.rows)}")
    tombstones = state.tombstones()
    for row in entry.rows:
        still = tombstones.find(entry.model_id, row)
        if still is not None:
            typer.echo(f"still refused: {row.describe()}, by request {still.request}, which needs its own statement")
