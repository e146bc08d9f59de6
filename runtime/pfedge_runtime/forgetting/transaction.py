"""Forgetting: rows leave a bundle's bank for good.

A forget begins with a plan, made of the bank and the ledger as they are: which rows go, and why they may. Under the
locks of device and bundle the smaller bank is written beside the old one, so that a full disk is noticed while nothing
has been done. Then the decision enters the ledger: from this line on every process refuses the rows, whatever happens.
The keys of sealed rows are destroyed, the smaller bank takes the old one's name, and the old one's bytes are
overwritten. At last the end enters the ledger, the floor rises, and the receipt is written.

    outcome = forget("bundle", ["3"])
    outcome.receipt                       # the file that proves it

If the process is killed after the decision, the next command finishes the forget (`recovery`); before it, nothing has
changed. Graph, engines and manifest stay as they are: what the bundle can still recognise follows from its bank.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pfedge_runtime.arguments import Texts, as_texts
from pfedge_runtime.bundle import Bundle
from pfedge_runtime.device import DeviceState, Entry, ForgetAbout, Writer
from pfedge_runtime.errors import BankError, StorageError
from pfedge_runtime.files import (
    exclusive,
    finish_erasing,
    replace_erasing,
    require_sole_copy,
    require_writable,
    staged_file,
)
from pfedge_runtime.forgetting.completion import complete, destroy_keys
from pfedge_runtime.forgetting.plan import Forgetting, Plan, make_plan, require_request
from pfedge_runtime.forgetting.recovery import finish_all


def forget(
    bundle: Bundle | str | os.PathLike[str],
    classes: Texts,
    *,
    sources: Texts = (),
    request: str = "",
    state: DeviceState | None = None,
) -> Forgetting:
    """Drop the rows of these classes (ids or names) and sources from a bundle.

    When it returns, the bank on disk no longer has them, the device refuses them, and the receipt lies in its state.
    If it raises before the decision is in the ledger, nothing was done. If it raises after it, the rows are refused,
    and the next command finishes the forget.

    Args:
        bundle: an opened bundle, whose files are not checked again; or where it lies.
        classes: ids or names; one text is one of them.
        sources: of rows kept apart by source; likewise.
        request: what names the forget in ledger and receipt: letters, digits, `.`, `_`, `-`; nothing about a patient.
            Empty makes one up.
        state: what the device remembers; by default the opened bundle's, or what `DeviceState.at` finds.

    Raises:
        PfedgeError: as `Bundle.open` and `plan_forget`; StorageError where something cannot be written.
    """
    if not isinstance(bundle, Bundle):
        bundle = Bundle.open(bundle, read_bank=False, state=state)
    elif state is not None:
        bundle = replace(bundle, state=state)
    classes, sources = as_texts(classes), as_texts(sources)
    started = time.perf_counter()
    plan = _plan_early(bundle, classes, sources, request)
    with bundle.state.writing() as writer:
        _finish_pending(writer, bundle)
        require_request(request, writer.ledger)
        with exclusive(bundle.path):
            require_sole_copy(bundle.bank_path)
            require_writable(bundle.bank_path)
            finish_erasing(bundle.bank_path)
            if plan is None or plan.stamp != bundle.bank_stamp():  # bank or ledger changed before the locks were held
                plan = make_plan(bundle, writer.ledger, classes, sources)
            done, receipt = _carry_out(writer, bundle, plan, request or uuid.uuid4().hex)
    elapsed = (time.perf_counter() - started) * 1000
    return replace(plan.outcome, milliseconds=elapsed, request=done.request, receipt=str(receipt))


def _plan_early(bundle: Bundle, classes: Sequence[str], sources: Sequence[str], request: str) -> Plan | None:
    """Plan before any lock is held: what cannot be done is refused at once, and makes no state where there is none.

    Returns:
        The plan; None where the bank cannot be read. Another process may be replacing it, which none can under the
        locks: what is wrong with it is said there.
    """
    ledger = bundle.state.ledger()
    require_request(request, ledger)
    with suppress(BankError):
        return make_plan(bundle, ledger, classes, sources)
    return None


def _finish_pending(writer: Writer, bundle: Bundle) -> None:
    """Finish forgets that were decided and killed; refuse to begin another in a bundle that has one unfinished.

    Raises:
        StorageError: one of this bundle cannot be finished.
    """
    here = str(bundle.path.resolve())
    for decision, problem in finish_all(writer, bundle.path):
        if ForgetAbout.of(decision).bundle == here and decision.model_id == bundle.manifest.model_id:
            raise StorageError(problem)


def _carry_out(writer: Writer, bundle: Bundle, plan: Plan, request: str) -> tuple[Entry, Path]:
    """Do what a plan says, under the locks; return the end's line in the ledger, and where the receipt lies."""
    data = plan.smaller.to_bytes()
    with ThreadPoolExecutor(1) as hashing:  # while the disk is waited for
        bank_file = hashing.submit(_sha256, data)
        with staged_file(bundle.bank_path, data) as new:
            decision = writer.append(
                Entry.forget(
                    request=request,
                    model_id=plan.outcome.model_id,
                    guarantee=plan.outcome.guarantee,
                    rows=plan.rows,
                    bank_before=plan.outcome.bank_before,
                    bank_after=plan.outcome.bank_after,
                    about=ForgetAbout(str(bundle.path.resolve())),
                )
            )
            destroy_keys(writer.state, decision)
            replace_erasing(new, bundle.bank_path)
        return complete(writer, decision, bundle, bank_after=plan.outcome.bank_after, bank_file=bank_file.result())


def _sha256(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()
