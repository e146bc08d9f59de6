"""`pfedge keygen`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.options import JsonOption
from pfedge.cli.output import print_json, say, suggest


def keygen(
    path: Annotated[Path, typer.Argument(help="The private key's file; the public one gets the suffix .pub.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Make an Ed25519 key pair, for signing bundles or as an authority. The private key is readable by you only."""
    from pfedge_runtime.signing import PrivateKey

    key = PrivateKey.create(path)
    if as_json:
        files = {"private_key": str(path), "public_key": str(path.with_suffix(".pub"))}
        print_json("keygen", {**files, "key": key.public.id})
        return
    say(f"private key {path}, public key {path.with_suffix('.pub')}, id {key.public.id}")
    suggest("export RUN --sign", path)
