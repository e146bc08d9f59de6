"""Recovery: what a killed forget decided is finished by the next command.

    for problem in recover(at=Path("bundle")):      # in words: what could not be finished, and what to do
        print(problem)

What stands in the ledger as decided and not as done is taken up from wherever it was left: the bank is read, made
smaller if it still has the rows, and the end is entered. A bundle that was moved is looked for where the caller says.
"""

from __future__ import annotations

from pathlib import Path

from pfedge_runtime.bundle import MANIFEST, Bundle, Manifest
from pfedge_runtime.device import DeviceState, Entry, ForgetAbout, Writer
from pfedge_runtime.errors import AlreadyForgottenError, BundleError, PfedgeError, StorageError
from pfedge_runtime.files import (
    exclusive,
    finish_erasing,
    replace_erasing,
    require_sole_copy,
    sha256_file,
    staged_file,
)
from pfedge_runtime.forgetting.completion import complete, destroy_keys, receipt_path, write_receipt


def recover(state: DeviceState | None = None, *, at: Path | None = None) -> list[str]:
    """Finish what a killed forget decided; return what could not be finished, in words.

    Args:
        state: what the device remembers; by default what `DeviceState.at` finds.
        at: a bundle in use: a forget whose bundle was moved is finished there, if it is of the same model.

    Raises:
        LedgerError, StateError: what the device remembers cannot be trusted.
        StorageError: the state is there and cannot be written.
    """
    state = state or DeviceState.at()
    ledger = state.ledger()
    done = [entry for entry in ledger.entries if entry.act == "forgotten"]
    receipts_missing = any(not receipt_path(state, entry.request).exists() for entry in done)
    if not ledger.pending() and not receipts_missing and not ledger.torn:
        return []
    with state.writing() as writer:
        return [problem for _, problem in finish_all(writer, at)]


def recover_or_say(state: DeviceState | None = None, *, at: Path | None = None) -> list[str]:
    """Do what `recover` does, and return it in words where the device cannot write: it refuses the rows all the same.

    Raises:
        LedgerError, StateError: what the device remembers cannot be trusted.
    """
    try:
        return recover(state, at=at)
    except StorageError as error:
        return [str(error)]


def finish_all(writer: Writer, at: Path | None) -> list[tuple[Entry, str]]:
    """Finish what was decided and not finished, and write receipts that are missing; return what could not be.

    Raises:
        StateError, StorageError: a receipt or the floor cannot be written.
    """
    problems = []
    for decision in writer.ledger.pending():
        try:
            destroy_keys(writer.state, decision)  # for which no bundle is needed
            _finish(writer, decision, _where(decision, at))
        except (PfedgeError, OSError) as error:
            rows = ", ".join(row.describe() for row in decision.rows)
            problem = (
                f"forgetting {rows} is decided (request {decision.request}) and not finished: {error}; put the bundle "
                "back, or name it where it is now (--bundle)"
            )
            problems.append((decision, problem))
    for entry in writer.ledger.entries:
        if entry.act == "forgotten":
            write_receipt(writer, entry)
    writer.raise_floor()
    return problems


def _where(decision: Entry, at: Path | None) -> Path:
    """Return where the bundle of a decision is: where it was, or at `at` if that has its model and it is gone there."""
    path = Path(ForgetAbout.of(decision).bundle)
    if at is not None and not _holds(path, decision.model_id) and _holds(at, decision.model_id):
        return at
    return path


def _holds(path: Path, model_id: str) -> bool:
    try:
        return Manifest.load(path / MANIFEST).model_id == model_id
    except BundleError:
        return False


def _finish(writer: Writer, decision: Entry, path: Path) -> None:
    """Take up a forget after its decision, whatever of it was done."""
    bundle = Bundle.open(path, read_bank=False, state=writer.state)
    if bundle.manifest.model_id != decision.model_id:
        message = f"{bundle.path} is another model by now"
        raise AlreadyForgottenError(message)
    with exclusive(bundle.path):
        finish_erasing(bundle.bank_path)
        require_sole_copy(bundle.bank_path)
        stored = bundle.stored_bank()
        gone = {row.key for row in decision.rows}
        if gone & set(stored.row_keys):
            stored = stored.without(gone)
            with staged_file(bundle.bank_path, stored.to_bytes()) as new:
                replace_erasing(new, bundle.bank_path)
        bank_file = sha256_file(bundle.bank_path)
        complete(writer, decision, bundle, bank_after=stored.digest(), bank_file=bank_file)
