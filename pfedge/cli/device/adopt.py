"""`pfedge adopt`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.options import BundleArgument, BundleOption, JsonOption, choose_bundle
from pfedge.cli.output import print_json, say, suggest
from pfedge.cli.recovery import finish_decided


def adopt(
    argument: BundleArgument = None,
    *,
    bundle: BundleOption = None,
    keys: Annotated[Path | None, typer.Option(help="The keys of its sealed rows.")] = None,
    authority: Annotated[
        Path | None, typer.Option(help="Public key that may sign restorations; before anything is forgotten.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Take a bundle into use on this device: check it, record it in the ledger, take over keys of sealed rows.

    \b
    pfedge adopt --bundle /opt/pfedge/blood --keys blood.keys.json
    """
    from pfedge_runtime.bundle import Bundle
    from pfedge_runtime.forgetting import adopt as adopt_bundle
    from pfedge_runtime.receipts import require_trustable, trust
    from pfedge_runtime.signing import PublicKey

    bundle = choose_bundle(argument, bundle)
    finish_decided(bundle)
    opened = Bundle.open(bundle, read_bank=False)
    key = PublicKey.load(authority) if authority else None
    if key is not None:
        require_trustable(opened.state, key)
    taken, refused = adopt_bundle(opened, keys)
    if key is not None:
        trust(opened.state, key)
    if as_json:
        about = {"bundle": str(bundle), "model_id": opened.manifest.model_id, "authority": key and key.id}
        taken_keys = {"taken": [row.to_json() for row in taken], "refused": [row.to_json() for row in refused]}
        print_json("adopt", {**about, **taken_keys})
        return
    if key is not None:
        say(f"authority  {authority}: it alone may sign restorations")
    say(f"adopted    {bundle} (model {opened.manifest.model_id})")
    if keys is not None:
        say(f"keys       {len(taken)} of {len(opened.stored_bank())} taken; they now lie in this device's state")
    for row in refused:
        say(f"refused    the key of {row.describe()}: it was forgotten on this device")
    suggest("predict FILE --bundle", bundle)
