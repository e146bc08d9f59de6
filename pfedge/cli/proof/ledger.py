"""`pfedge ledger show | verify | export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.options import JsonOption
from pfedge.cli.output import print_json, say, suggest
from pfedge.cli.recovery import finish_decided

app = typer.Typer(no_args_is_help=True, help="The device's signed record of what it did to its banks.")

KeyOption = Annotated[Path | None, typer.Option(help="The device's public key.", show_default="this device's")]


@app.command("show")
def show(*, as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False) -> None:
    """Show this device's ledger: what it adopted, forgot, refused and restored."""
    from pfedge_runtime.device import DeviceState

    finish_decided()
    ledger = DeviceState.at().ledger()
    for entry in ledger.entries:
        if as_json:
            print_json("ledger", entry.to_json())
            continue
        rows = ", ".join(row.describe() for row in entry.rows)
        of = f"model {entry.model_id[:8]}" if entry.model_id else ""
        say("  ".join(part for part in (f"{entry.sequence:>4}", entry.time, f"{entry.act:<9}", of, rows) if part))
    if not as_json:
        pending = len(ledger.pending())
        say(f"{len(ledger.entries)} lines" + (f", {pending} forgets decided and not finished" if pending else ""))
        suggest("ledger verify")


@app.command("verify")
def verify(
    path: Annotated[Path | None, typer.Argument(help="A ledger file.", show_default="this device's")] = None,
    *,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a ledger: every signature, the chain, and, of this device's own, the floor under it."""
    from pfedge_runtime.device import DeviceState, Ledger
    from pfedge_runtime.errors import UsageError
    from pfedge_runtime.signing import PublicKey

    if path is not None and key is None:
        message = "a ledger file needs --key, the public key of the device it is from"
        raise UsageError(message)
    if path is None:
        finish_decided()
    ledger = Ledger.read(path, PublicKey.load(key)) if path and key else DeviceState.at().ledger()
    ledger.verify()
    if as_json:
        print_json("ledger-verify", {"lines": len(ledger.entries), "head": ledger.head, "torn_bytes": ledger.torn})
        return
    say(f"the ledger verifies: {len(ledger.entries)} lines, head {ledger.head}")
    if ledger.torn:
        say(f"after them {ledger.torn} bytes of a write that was interrupted; they count for nothing")
    suggest("ledger export FOLDER")


@app.command("export")
def export(
    out: Annotated[Path, typer.Argument(help="A folder, new or empty, for ledger, public key and receipts.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Copy what an auditor needs: ledger, public key, receipts. No private key and no row key is among it."""
    import shutil

    from pfedge_runtime.device import LEDGER, PUBLIC_KEY, DeviceState
    from pfedge_runtime.errors import StateError
    from pfedge_runtime.files import staged_folder

    finish_decided()
    state = DeviceState.at()
    state.ledger().verify()
    if not state.ledger_path.exists():
        message = f"this device has no ledger yet ({state.path})"
        raise StateError(message)
    with staged_folder(out) as folder:
        shutil.copy(state.ledger_path, folder / LEDGER)
        shutil.copy(state.path / PUBLIC_KEY, folder / PUBLIC_KEY)
        if state.receipts.is_dir():
            shutil.copytree(state.receipts, folder / "receipts")
    receipts = sorted(path.name for path in (out / "receipts").glob("*.json"))
    if as_json:
        print_json(
            "ledger-export",
            {"out": str(out), "ledger": LEDGER, "public_key": PUBLIC_KEY, "receipts": receipts},
        )
        return
    say(f"{out}: {LEDGER}, {PUBLIC_KEY}, {len(receipts)} receipts")
    suggest("fleet status", out, "--expect devices.txt")
