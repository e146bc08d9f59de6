"""`pfedge fleet status`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pfedge.cli.output import print_json, printable, say, suggest

if TYPE_CHECKING:
    from rich.table import Table

    from pfedge_runtime.receipts import FleetStatus, Standing

app = typer.Typer(no_args_is_help=True, help="Which devices have forgotten, from their receipts and ledgers alone.")

INCOMPLETE = 3  # the exit code
PIPE_WIDTH = 200  # characters of a table that goes to a file or a pipe


@app.command("status")
def status(
    receipts: Annotated[
        list[Path], typer.Argument(help="Receipts, ledgers, or folders of them (pfedge ledger export).")
    ],
    *,
    expect: Annotated[Path, typer.Option(help="The devices, one a line: NAME PUBLIC_KEY_FILE [YYYY-MM-DD].")],
    class_: Annotated[
        str, typer.Option("--class", "-c", help="Class id or name; 3@clinic-7 for one source.", show_default="all")
    ] = "",
    model: Annotated[str, typer.Option(help="Model id.", show_default="any")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show which devices have forgotten a class, which are overdue, and whose ledger does not verify.

    It needs no network and no device. A device's key is the one that the file of devices names. Exit code 0: every
    device has forgotten and every ledger given verifies; 3: not so; 2: wrong usage.
    """
    from datetime import UTC, datetime

    from pfedge_runtime.receipts import fleet_status, read_devices

    today = datetime.now(UTC).date()
    result = fleet_status(receipts, read_devices(expect), today=today, wanted=class_, model_id=model)
    if as_json:
        print_json("fleet", result.to_json())
    else:
        _show(result, class_)
        suggest("receipt verify FILE --key PUBLIC_KEY --ledger LEDGER")
    if not result.complete:
        raise typer.Exit(INCOMPLETE)


def _show(result: FleetStatus, wanted: str) -> None:
    import sys

    from rich.console import Console
    from rich.table import Table

    table = Table()
    for heading in ("device", "state", "due", "time", "forgotten", "model", "request", "ledger"):
        table.add_column(heading, overflow="fold")
    for standing in result.standings:
        _add_rows(table, standing, every_receipt=not wanted)
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)
    for title, remarks in (("Counts for nothing:", result.problems), ("Not expected:", result.unexpected)):
        if remarks:
            say(title)
        for remark in remarks:
            say(f"  {remark.kind} {remark.file}: {remark.reason}")
    done = sum(standing.state == "forgotten" for standing in result.standings)
    say(f"{done} of {len(result.standings)} devices have forgotten")


def _add_rows(table: Table, standing: Standing, *, every_receipt: bool) -> None:
    """Add a device: one line for the receipt that its state rests on, or, to show every one, a line for each."""
    from rich.text import Text

    due = str(standing.device.due or "")
    ledger = f"{standing.ledger}: {standing.ledger_problem}" if standing.ledger_problem else standing.ledger
    lasting = [one for one in standing.evidence if not one.restored] or standing.evidence
    shown = standing.evidence if every_receipt else lasting[-1:]
    for one in shown:
        receipt = one.receipt
        rows = ", ".join(row.describe() for row in receipt.rows)
        state = ("restored" if one.restored else "forgotten") if every_receipt else standing.state
        cells = (standing.device.name, state, due, receipt.time, rows, receipt.model_id[:8], receipt.request, ledger)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    if not shown:
        cells = (standing.device.name, standing.state, due, "", "", "", "", ledger)
        table.add_row(*(Text(printable(cell)) for cell in cells))
