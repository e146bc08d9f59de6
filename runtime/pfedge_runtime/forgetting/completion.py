"""What follows a decision, in a forget and in its recovery alike: keys destroyed, the end entered, the receipt written.

Each of these may be done again where a killed process has done it already.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pfedge_runtime.bundle import GRAPH, Bundle
from pfedge_runtime.device import DeviceState, Entry, ForgottenAbout, Writer
from pfedge_runtime.engines import list_engines
from pfedge_runtime.errors import PfedgeError
from pfedge_runtime.files import erase, make_folder, remove_leftovers, write_atomic


def destroy_keys(state: DeviceState, decision: Entry) -> None:
    """Overwrite and remove the keys of sealed rows that are to go: every copy of the rows dies with them.

    Raises:
        StorageError: one cannot be.
    """
    for row in decision.rows:
        path = state.row_key_path(decision.model_id, row.key)
        if path.exists():
            erase(path)


def complete(writer: Writer, decision: Entry, bundle: Bundle, *, bank_after: str, bank_file: str) -> tuple[Entry, Path]:
    """Enter the end into the ledger, raise the floor and write the receipt.

    Args:
        writer: the device's state, held for writing.
        decision: the forget, whose rows the bank no longer has.
        bundle: where they were.
        bank_after: digest of the bank.
        bank_file: SHA-256 of its file.

    Returns:
        The line of the end, and where the receipt lies.

    Raises:
        StorageError: the ledger, the floor or the receipt cannot be written.
    """
    audits = bundle.manifest.audits
    named = (str(class_id) for class_id in sorted({row.class_id for row in decision.rows}))
    engines: dict[str, str] = {}
    with suppress(PfedgeError):  # a damaged engine is refused when it is loaded; it holds no row
        engines = {f"{one['target']}-{one['sha256'][:8]}": one["sha256"] for one in list_engines(bundle.path)}
    about = ForgottenAbout(
        bank_file=bank_file,
        graph=bundle.manifest.files[GRAPH]["sha256"],
        audit=" ".join(audits[class_id] for class_id in named if class_id in audits),
        engines=engines,
    )
    end = writer.append(Entry.forgotten(decision, bank_after=bank_after, about=about))
    writer.raise_floor()
    return end, write_receipt(writer, end)


def write_receipt(writer: Writer, end: Entry) -> Path:
    """Write the receipt of a finished forget, where it is not there yet; return where it lies.

    Raises:
        StorageError: it cannot be written.
    """
    path = receipt_path(writer.state, end.request)
    if not path.exists():
        from pfedge_runtime.receipts import Receipt  # which a prediction need not wait for

        make_folder(path.parent, mode=0o700)
        remove_leftovers(path)
        write_atomic(path, Receipt.of(end).sign(writer.key))
    return path


def receipt_path(state: DeviceState, request: str) -> Path:
    """Return where the receipt of a request lies."""
    return state.receipts / f"{request}.json"
