"""`pfedge keygen`, `pfedge adopt`, `pfedge device`: keys, and what a device takes into use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.options import BundleOption
from pfedge.cli.output import print_json
from pfedge.cli.recovery import finish_decided
from pfedge_runtime.errors import StateError


def keygen(
    path: Annotated[Path, typer.Argument(help="The private key's file; the public one gets the suffix .pub.")],
) -> None:
    """Make an Ed25519 key pair, for signing bundles or as an authority. The private key is readable by you only."""
    from pfedge_runtime.signing import PrivateKey

    key = PrivateKey.create(path)
    typer.echo(f"private key {path}, public key {path.with_suffix('.pub')}, id {key.public.id}")


def adopt(
    *,
    bundle: BundleOption = Path("bundle"),
    keys: Annotated[Path | None, typer.Option(help="The keys of its sealed rows.")] = None,
    authority: Annotated[
        Path | None, typer.Option(help="Public key that may sign restorations; before anything is forgotten.")
    ] = None,
) -> None:
    """Take a bundle into use on this device: check it, record it in the ledger, take over keys of sealed rows.

    \b
    pfedge adopt --bundle /opt/pfedge/blood --keys blood.keys.json
    """
    from pfedge_runtime.bundle import Bundle
    from pfedge_runtime.forgetting import adopt as adopt_bundle
    from pfedge_runtime.receipts import require_trustable, trust
    from pfedge_runtime.signing import PublicKey

    finish_decided(bundle)
    opened = Bundle.open(bundle, read_bank=False)
    key = PublicKey.load(authority) if authority else None
    if key is not None:
        require_trustable(opened.state, key)
    taken, refused = adopt_bundle(opened, keys)
    if key is not None:
        trust(opened.state, key)
        typer.echo(f"authority  {authority}: it alone may sign restorations")
    typer.echo(f"adopted    {bundle} (model {opened.manifest.model_id})")
    if keys is not None:
        typer.echo(f"keys       {len(taken)} of {len(opened.stored_bank())} taken; they now lie in this device's state")
    for row in refused:
        typer.echo(f"refused    the key of {row.describe()}: it was forgotten on this device")


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
        print_json(result)
    else:
        typer.echo(f"key     {result['key']}\nstate   {result['state']}")
        typer.echo(f"ledger  {result['lines']} lines, floor {result['floor']}")
