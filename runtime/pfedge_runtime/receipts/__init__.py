"""Proof that rows were forgotten: receipts, pages for people, a fleet's standing, and how a forget is undone.

    receipt = Receipt.verify(Path("receipt.json").read_bytes(), [PublicKey.load(Path("device.pub"))])
    receipt.stated()

May import: `bundle`, `device`, `bank`, `signing`, `files`, `errors`.
"""

from pfedge_runtime.receipts.expected import ExpectedDevice, read_devices
from pfedge_runtime.receipts.fleet import FleetStatus, Standing, fleet_status
from pfedge_runtime.receipts.history import describe_restoration, find_restoration, require_in_ledger
from pfedge_runtime.receipts.pdf import PageContext, receipt_pdf
from pfedge_runtime.receipts.receipt import Receipt
from pfedge_runtime.receipts.restoration import authorize, require_trustable, restore, trust

__all__ = [
    "ExpectedDevice",
    "FleetStatus",
    "PageContext",
    "Receipt",
    "Standing",
    "authorize",
    "describe_restoration",
    "find_restoration",
    "fleet_status",
    "read_devices",
    "receipt_pdf",
    "require_in_ledger",
    "require_trustable",
    "restore",
    "trust",
]
