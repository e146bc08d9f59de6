"""`pfedge receipt list | verify | pdf`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pfedge.cli.output import print_json, say
from pfedge.cli.recovery import finish_decided

if TYPE_CHECKING:
    from pfedge_runtime.receipts import Receipt

app = typer.Typer(no_args_is_help=True, help="Signed statements that rows were forgotten, checkable offline.")

ReceiptArgument = Annotated[Path, typer.Argument(help="The receipt's file.")]
KeyOption = Annotated[Path, typer.Option(help="The device's public key (pfedge device --public-key).")]


@app.command("list")
def list_() -> None:
    """List this device's receipts."""
    from pfedge_runtime.device import DeviceState
    from pfedge_runtime.receipts import Receipt

    finish_decided()
    state = DeviceState.at()
    for path in sorted(state.receipts.glob("*.json")):
        receipt = Receipt.verify(path.read_bytes(), [state.public_key()], source=str(path))
        say(f"{receipt.time}  {', '.join(row.describe() for row in receipt.rows)}  {path}")


@app.command("verify")
def verify(
    path: ReceiptArgument,
    *,
    key: KeyOption,
    bundle: Annotated[Path | None, typer.Option(help="Compare with this bundle too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt as JSON.")] = False,
) -> None:
    """Check a receipt, offline and without any state, and say what it proves and what it does not.

    \b
    pfedge receipt verify receipt.json --key device.pub
    """
    from pfedge_runtime.errors import SignatureError
    from pfedge_runtime.files import read_file
    from pfedge_runtime.receipts import Receipt
    from pfedge_runtime.signing import PublicKey

    receipt = Receipt.verify(read_file(path, SignatureError), [PublicKey.load(key)], source=str(path))
    compared = _compare(receipt, bundle) if bundle else []
    if as_json:
        rows = [row.to_json() for row in receipt.rows]
        print_json({**vars(receipt), "rows": rows, "compared": compared})
        return
    say("Proved:")
    for line in [*receipt.proved(), *compared]:
        say(f"  - {line}")
    say("Not proved:")
    for line in receipt.not_proved():
        say(f"  - {line}")


@app.command("pdf")
def pdf(
    path: ReceiptArgument,
    *,
    key: KeyOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the page goes.")] = Path("receipt.pdf"),
) -> None:
    """Write a receipt that verifies as one A4 page, for those who read no JSON."""
    from pfedge_runtime.errors import SignatureError
    from pfedge_runtime.files import read_file, require_vacant, write_atomic
    from pfedge_runtime.receipts import receipt_pdf
    from pfedge_runtime.signing import PublicKey

    require_vacant(out)
    page = receipt_pdf(read_file(path, SignatureError), [PublicKey.load(key)], source=str(path))
    write_atomic(out, page)
    say(f"{out}: the signature of {path} verifies; the page itself proves nothing, keep {path} too")


def _compare(receipt: Receipt, bundle: Path) -> list[str]:
    """Compare a receipt with a bundle: none of the rows may be there."""
    from pfedge_runtime.bundle import Bundle
    from pfedge_runtime.errors import TombstoneError, UsageError

    opened = Bundle.open(bundle, read_bank=False)
    if opened.manifest.model_id != receipt.model_id:
        message = f"{bundle} is of model {opened.manifest.model_id}, the receipt of model {receipt.model_id}"
        raise UsageError(message)
    stored = opened.stored_bank()
    digests = {row.digest for row in opened.row_ids(stored.row_keys)}
    there = [row.describe() for row in receipt.rows if row.digest in digests]
    if there:
        message = f"{bundle} has {', '.join(there)}, which this receipt says was forgotten"
        raise TombstoneError(message)
    same = "is the one of the receipt" if stored.digest() == receipt.bank_after else "has changed since"
    return [f"{bundle} has none of these rows; its bank {same}"]
