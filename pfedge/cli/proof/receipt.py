"""`pfedge receipt list | verify | pdf`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pfedge.cli.options import JsonOption
from pfedge.cli.output import print_json, say, suggest
from pfedge.cli.recovery import finish_decided

if TYPE_CHECKING:
    from pfedge_runtime.bundle import Bundle
    from pfedge_runtime.device import Ledger
    from pfedge_runtime.receipts import Receipt
    from pfedge_runtime.signing import PublicKey

app = typer.Typer(no_args_is_help=True, help="Signed statements that rows were forgotten, checkable offline.")

REVERSED = 3  # the exit code
ReceiptArgument = Annotated[Path, typer.Argument(help="The receipt's file.")]
KeyOption = Annotated[Path, typer.Option(help="The device's public key (pfedge device --public-key).")]
LedgerOption = Annotated[
    Path | None, typer.Option(help="The device's ledger: says whether the forget was undone since.")
]


@app.command("list")
def list_(*, as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False) -> None:
    """List this device's receipts."""
    from pfedge_runtime.device import PUBLIC_KEY, DeviceState
    from pfedge_runtime.receipts import Receipt

    finish_decided()
    state = DeviceState.at()
    for path in sorted(state.receipts.glob("*.json")):
        receipt = Receipt.verify(path.read_bytes(), [state.public_key()], source=str(path))
        if as_json:
            print_json("receipt-list", {**_about(receipt), "path": str(path)})
        else:
            say(f"{receipt.time}  {', '.join(row.describe() for row in receipt.rows)}  {path}")
    if not as_json:
        suggest("receipt verify FILE --key", state.path / PUBLIC_KEY, "--ledger", state.ledger_path)


@app.command("verify")
def verify(
    path: ReceiptArgument,
    *,
    key: KeyOption,
    ledger: LedgerOption = None,
    bundle: Annotated[Path | None, typer.Option(help="Compare with this bundle too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt as JSON.")] = False,
) -> None:
    """Check a receipt, offline and without any state, and say what was verified, what is stated, what is not proved.

    A receipt says what was done once. Whether it still holds, the device's ledger shows: with --ledger a forget that
    was undone is REVERSED, and the exit code is 3.

    \b
    pfedge receipt verify receipt.json --key device.pub --ledger ledger.jsonl --bundle bundle
    """
    from pfedge_runtime.errors import SignatureError
    from pfedge_runtime.files import read_file
    from pfedge_runtime.receipts import Receipt, describe_restoration, find_restoration
    from pfedge_runtime.signing import PublicKey

    public = PublicKey.load(key)
    receipt = Receipt.verify(read_file(path, SignatureError), [public], source=str(path))
    history = _read_history(receipt, ledger, public) if ledger else None
    restoration = find_restoration(receipt, history) if history else None
    opened = _open_bundle_of(receipt, bundle) if bundle else None
    compared = [] if opened is None else [_compare(receipt, opened, restored=restoration is not None)]
    if as_json:
        about = {
            "compared": compared,
            "dataset": opened and opened.manifest.dataset,
            "reversed": restoration and restoration.time,
        }
        print_json("receipt", {**_about(receipt), **about})
    else:
        if restoration is not None:
            say(describe_restoration(restoration))
        if history is not None:
            compared.insert(0, _describe_history(history, reversed_=restoration is not None))
        _list("Verified:", [*receipt.verified(), *compared])
        _list("Stated by the device:", receipt.stated())
        _list("Not proved:", receipt.not_proved())
        if ledger is None:
            suggest("receipt verify", path, "--key", key, "--ledger ledger.jsonl")
        else:
            suggest("receipt pdf", path, "--key", key, "--ledger", ledger)
    if restoration is not None:
        raise typer.Exit(REVERSED)


@app.command("pdf")
def pdf(
    path: ReceiptArgument,
    *,
    key: KeyOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the page goes.")] = Path("receipt.pdf"),
    ledger: LedgerOption = None,
    bundle: Annotated[Path | None, typer.Option(help="Name the data set that this bundle was trained on.")] = None,
    organisation: Annotated[str, typer.Option(help="Name for whom the page is made.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Write a receipt that verifies as one A4 page, for those who read no JSON."""
    from pfedge_runtime.errors import SignatureError
    from pfedge_runtime.files import read_file, require_vacant, write_atomic
    from pfedge_runtime.receipts import PageContext, Receipt, find_restoration, receipt_pdf
    from pfedge_runtime.signing import PublicKey

    require_vacant(out)
    public, data = PublicKey.load(key), read_file(path, SignatureError)
    receipt = Receipt.verify(data, [public], source=str(path))
    history = _read_history(receipt, ledger, public) if ledger else None
    context = PageContext(
        data_set=_open_bundle_of(receipt, bundle).manifest.dataset if bundle else "",
        organisation=organisation,
        restoration=find_restoration(receipt, history) if history else None,
        ledger_lines=len(history.entries) if history else 0,
    )
    write_atomic(out, receipt_pdf(data, [public], source=str(path), context=context))
    if as_json:
        undone = context.restoration and context.restoration.time
        print_json("receipt-pdf", {"out": str(out), "receipt": str(path), "reversed": undone})
        return
    say(f"{out}: the signature of {path} verifies; the page itself proves nothing, keep {path} too")
    suggest("ledger export FOLDER")


def _about(receipt: Receipt) -> dict[str, Any]:
    """Return JSON values of a receipt."""
    return {**vars(receipt), "rows": [row.to_json() for row in receipt.rows]}


def _list(title: str, lines: list[str]) -> None:
    say(title)
    for line in lines:
        say(f"  - {line}")


def _read_history(receipt: Receipt, path: Path, key: PublicKey) -> Ledger:
    """Read the ledger of a receipt's device.

    Raises:
        LedgerError: it does not verify, or the receipt is not of one of its lines.
    """
    from pfedge_runtime.device import Ledger
    from pfedge_runtime.receipts import require_in_ledger

    ledger = Ledger.read(path, key)
    ledger.verify()
    require_in_ledger(receipt, ledger)
    return ledger


def _describe_history(ledger: Ledger, *, reversed_: bool) -> str:
    """Say what the ledger shows, and until when."""
    undone = "undone" if reversed_ else "not undone"
    last = ledger.entries[-1].time
    return f"the ledger: chain and signatures of {len(ledger.entries)} lines, the last of {last}; it is {undone} there"


def _open_bundle_of(receipt: Receipt, path: Path) -> Bundle:
    """Open the bundle that a receipt is about.

    Raises:
        UsageError: it is of another model.
    """
    from pfedge_runtime.bundle import Bundle
    from pfedge_runtime.errors import UsageError

    opened = Bundle.open(path, read_bank=False)
    if opened.manifest.model_id != receipt.model_id:
        message = f"{path} is of model {opened.manifest.model_id}, the receipt of model {receipt.model_id}"
        raise UsageError(message)
    return opened


def _compare(receipt: Receipt, bundle: Bundle, *, restored: bool) -> str:
    """Compare a receipt with a bundle: none of the rows may be there, unless they were allowed again.

    Raises:
        TombstoneError: one is.
    """
    from pfedge_runtime.errors import TombstoneError

    stored = bundle.stored_bank()
    digests = {row.digest for row in bundle.row_ids(stored.row_keys)}
    there = [row.describe() for row in receipt.rows if row.digest in digests]
    of = f"{bundle.path}, trained on {bundle.manifest.dataset},"
    if there and restored:
        return f"{of} has {', '.join(there)} again"
    if there:
        message = f"{bundle.path} has {', '.join(there)}, which this receipt says was forgotten"
        raise TombstoneError(message)
    same = "is the one of the receipt" if stored.digest() == receipt.bank_after else "has changed since"
    return f"{of} has none of these rows; its bank {same}"
