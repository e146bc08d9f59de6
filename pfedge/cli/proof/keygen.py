"""`pfedge keygen`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.output import say


def keygen(
    path: Annotated[Path, typer.Argument(help="The private key's file; the public one gets the suffix .pub.")],
) -> None:
    """Make an Ed25519 key pair, for signing bundles or as an authority. The private key is readable by you only."""
    from pfedge_runtime.signing import PrivateKey

    key = PrivateKey.create(path)
    say(f"private key {path}, public key {path.with_suffix('.pub')}, id {key.public.id}")
