"""What a device remembers outside of every bundle: its key, its ledger, its tombstones, and the floor under them.

    state = DeviceState.at()                                   # PFEDGE_STATE_DIR, or the user's own
    state.tombstones()                                         # the rows that it must never accept again

May import: `bank`, `signing`, `files`, `errors`.
"""

from pfedge_runtime.device.entry import Entry, ForgetAbout, ForgottenAbout, RestoreAbout, RowId
from pfedge_runtime.device.floor import FileFloor
from pfedge_runtime.device.ledger import LEDGER_BYTES, Ledger, Tombstones
from pfedge_runtime.device.state import (
    LEDGER,
    PUBLIC_KEY,
    DeviceState,
    LedgerStamp,
    Writer,
    record_refusal,
    require_allowed,
)

__all__ = [
    "LEDGER",
    "LEDGER_BYTES",
    "PUBLIC_KEY",
    "DeviceState",
    "Entry",
    "FileFloor",
    "ForgetAbout",
    "ForgottenAbout",
    "Ledger",
    "LedgerStamp",
    "RestoreAbout",
    "RowId",
    "Tombstones",
    "Writer",
    "record_refusal",
    "require_allowed",
]
