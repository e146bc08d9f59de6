"""`pfedge demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.extras import needs


def demo(
    *,
    out: Annotated[Path, typer.Option(help="Folder for everything the demo writes, new or empty.")] = Path("demo"),
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 24,
    forget: Annotated[str, typer.Option(help="The digit to forget.")] = "3",
) -> None:
    """Show the whole path in minutes: train on real handwritten digits, export, forget a class, predict.

    Needs no network: the backbone and the digits come with the packages.
    """
    with needs("train", "demo"):
        from rich.console import Console

        from pfedge import demo as demonstration
    demonstration.run_demo(out, epochs=epochs, digit=forget, console=Console())
