"""`pfedge authorize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.options import JsonOption
from pfedge.cli.output import print_json, say, suggest


def authorize(
    receipt: Annotated[Path, typer.Argument(help="The receipt of the forget that may be undone.")],
    *,
    key: Annotated[Path, typer.Option(help="The authority's private key; no device has it.")],
    device: Annotated[Path, typer.Option(help="The public key of the device that gave the receipt.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the statement goes.")] = Path("restore.json"),
    as_json: JsonOption = False,
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
    if as_json:
        rows = [row.to_json() for row in given.rows]
        print_json("authorize", {"out": str(out), "device": given.device, "request": given.request, "rows": rows})
        return
    say(f"{out}: device {given.device[:16]} may accept {', '.join(row.describe() for row in given.rows)} again")
    suggest("restore --class", given.rows[0].class_id, "--authority", out)
