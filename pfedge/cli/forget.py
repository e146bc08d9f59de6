"""`pfedge forget`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.options import BundleOption
from pfedge_runtime.errors import UsageError


def forget(
    *,
    classes: Annotated[
        list[str] | None, typer.Option("--class", "-c", help="Class id or name; repeatable.", show_default=False)
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option("--source", help="Every row of this source (trained with --source-column); repeatable."),
    ] = None,
    bundle: BundleOption = Path("bundle"),
    request: Annotated[
        str, typer.Option(help="Names it in ledger and receipt; nothing about a patient.", show_default="made up")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    r"""Forget classes: drop their rows from the bundle's bank, for good.

    No data, no training, no re-export: the graph stays as it is. The bank file is replaced atomically; every
    later prediction of every process that uses this bundle is made without the rows. The device refuses them from then
    on, whatever bundle brings them back, and gives a signed receipt. There is no undo without an authority's signature.

    \b
    pfedge forget --class 3
    pfedge forget --class basophil --class 5 --bundle /opt/pfedge/blood --yes
    """
    from pfedge_runtime.bundle import Bundle
    from pfedge_runtime.forgetting import forget as forget_rows
    from pfedge_runtime.forgetting import plan_forget

    plan = plan_forget(Bundle.open(bundle, read_bank=False), classes or [], sources=sources or [])
    named = [f"class {entry.id} ({entry.name})" for entry in plan.classes]
    what = ", ".join([*named, *(f"source {source}" for source in plan.sources)])
    if dry_run:
        outcome = plan
    else:
        if not yes:
            if not sys.stdin.isatty():
                message = "forgetting asks for confirmation on a terminal; elsewhere pass --yes"
                raise UsageError(message)
            typer.confirm(f"Forget {what} in {bundle} for good?", abort=True, err=True)
        outcome = forget_rows(bundle, classes or [], sources=sources or [], request=request)
    if as_json:
        typer.echo(json.dumps({"dry_run": dry_run, **outcome.to_json()}))
        return
    left = len(outcome.coverage)
    if dry_run:
        typer.echo(f"would forget {what}; {left} classes would be left; nothing was changed")
    else:
        typer.echo(f"forgot {what} in {outcome.milliseconds:.1f} ms; {left} classes are left")
        typer.echo(f"receipt {outcome.receipt}")
    if outcome.guarantee == "shared":
        typer.echo("guarantee shared: the rows are gone; weights that all classes share (LoRA) stay as they are")
    elif outcome.guarantee == "exact":
        typer.echo("guarantee exact: the bank is now, byte for byte, the one that was never given them")
