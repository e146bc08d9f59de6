"""What a device's ledger says of a receipt: that it is of one of its lines, and whether the forget was undone later.

ledger = Ledger.read(Path("ledger.jsonl"), key)
require_in_ledger(receipt, ledger)
find_restoration(receipt, ledger)        # the entry that undid the forget; None where it stands
"""

from __future__ import annotations

from pfedge_runtime.device import Entry, Ledger
from pfedge_runtime.errors import LedgerError
from pfedge_runtime.receipts.receipt import Receipt


def require_in_ledger(receipt: Receipt, ledger: Ledger) -> None:
    """Check that the receipt is of the line of the ledger that it names.

    Raises:
        LedgerError: that line is missing, or says something else.
    """
    number = receipt.ledger_lines
    line = ledger.entries[number - 1] if 1 <= number <= len(ledger.entries) else None
    if line is None or line.act != "forgotten" or Receipt.of(line) != receipt:
        message = (
            f"line {number}, which receipt {receipt.request} names, does not stand in it: the ledger was "
            "rolled back, or is another's"
        )
        raise LedgerError(message)


def find_restoration(receipt: Receipt, ledger: Ledger) -> Entry | None:
    """Return the entry by which an authority undid the forget of a receipt, if one did."""
    later = ledger.entries[max(0, receipt.ledger_lines) :]
    return next((entry for entry in later if entry.act == "restore" and entry.request == receipt.request), None)


def describe_restoration(restoration: Entry) -> str:
    """Say in one line that a forget was undone, and when."""
    rows = ", ".join(row.describe() for row in restoration.rows)
    return f"REVERSED on {restoration.time}: an authority allowed {rows} again, as the device's ledger shows"
