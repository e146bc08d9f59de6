"""Kill or starve a forget at every step it takes on the disk, and look at what is left. Not collected by pytest.

    python tests/attacks/crash.py every BUNDLE FOLDER       # before every system call of forget, and of its recovery
    python tests/attacks/crash.py full BUNDLE FOLDER        # every one of them fails as on a full disk
    python tests/attacks/crash.py random BUNDLE FOLDER 1000 # real SIGKILLs at random instants

Each case runs in a forked process on a copy of the bundle and a device of its own; the parent, which was never
interrupted, checks the invariants, recovers, and checks again. Prints one JSON line of what was tried.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pfedge_runtime.bundle import Bundle
from pfedge_runtime.device import DeviceState, FileFloor
from pfedge_runtime.errors import AlreadyForgottenError, PfedgeError
from pfedge_runtime.forgetting import forget, recover
from pfedge_runtime.receipts import Receipt

CALLS = ("open", "write", "fsync", "link", "replace", "rename", "unlink", "ftruncate", "mkdir")
KILLED, DONE, REFUSED = -signal.SIGKILL, 0, 1


@dataclass(frozen=True)
class Case:
    """A bundle and a device, copied from templates."""

    bundle: Path
    state: DeviceState

    @classmethod
    def copy(cls, template: Path, device: Path, folder: Path) -> Case:
        """Make one in `folder`, which is removed first."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(device, folder / "device")
        bundle = Path(shutil.copytree(template, folder / "bundle"))
        return cls(bundle, DeviceState(folder / "device" / "state", FileFloor(folder / "device" / "floor")))

    def forget(self) -> None:
        """Forget class 3."""
        forget(self.bundle, ["3"], state=self.state)

    def recover(self) -> None:
        """Finish what was decided, or say that it could not be done."""
        problems = recover(self.state)
        if problems:
            raise PfedgeError(problems[0])


def arm(deadline: int, *, starve: bool) -> Callable[[], int]:
    """Make the `deadline`-th call to the disk fatal, or fail from there on; return a counter of calls."""
    calls = 0

    def armed(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **keywords: object) -> object:
            nonlocal calls
            calls += 1
            if calls == deadline and not starve:
                os.kill(os.getpid(), signal.SIGKILL)
            creates = real is opens and bool(int(arguments[1]) & os.O_CREAT)
            if starve and calls >= deadline and (creates or real in {writes, links, makes}):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **keywords)

        return call

    writes, opens, links, makes = os.write, os.open, os.link, os.mkdir
    for name in CALLS:
        setattr(os, name, armed(getattr(os, name)))
    return lambda: calls


def in_child(act: Callable[[], object], *, deadline: int = 0, starve: bool = False) -> tuple[int, int]:
    """Run in a forked process; return how it ended and how many calls it made (0 if it was killed)."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        count = arm(deadline, starve=starve)
        outcome = DONE
        try:
            act()
        except PfedgeError:
            outcome = REFUSED
        except BaseException:
            outcome = 9
        made = count()
        os.dup2(writer, 3)
        REAL_WRITE(writer, made.to_bytes(4, "little"))
        os._exit(outcome)
    os.close(writer)
    made = int.from_bytes(os.read(reader, 4), "little")
    os.close(reader)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), made


REAL_WRITE = os.write


def check(case: Case, traces: list[bytes]) -> bool:
    """Check what must hold at any time; return whether the forget is decided."""
    stored = Bundle.open(case.bundle, read_bank=False, state=case.state).stored_bank()
    assert len(stored) in {9, 10}, "a torn bank"
    ledger = case.state.ledger()
    ledger.verify()
    decided = any(entry.act == "forget" for entry in ledger.entries)
    used = Bundle.open(case.bundle, state=case.state).bank()
    assert (3 in used.class_ids) is not decided, "a decided forget must bind, an undecided one must not"
    if 3 not in stored.class_ids:
        assert decided, "a row that went without a word in the ledger"
    return decided


def finish(case: Case, traces: list[bytes]) -> bool:
    """Recover and check that the forget is wholly done or wholly undone; return which."""
    decided = check(case, traces)
    assert recover(case.state) == []
    if not decided:
        case.forget()
    ledger = case.state.ledger()
    ledger.verify()
    assert not ledger.pending()
    (done,) = [entry for entry in ledger.entries if entry.act == "forgotten"]
    receipt = Receipt.verify((case.state.receipts / f"{done.request}.json").read_bytes(), [case.state.public_key()])
    bank = Bundle.open(case.bundle, state=case.state).bank()
    assert 3 not in bank.class_ids
    assert receipt.bank_after == bank.digest()
    try:
        case.forget()
    except AlreadyForgottenError:
        pass
    else:
        message = "a forgotten class can be forgotten again"
        raise AssertionError(message)
    for file in [*case.bundle.rglob("*"), *case.state.path.rglob("*")]:
        assert file.suffix not in {".tmp", ".old"}, f"{file} was left behind"
        if file.is_file():
            data = file.read_bytes()
            assert not any(trace in data for trace in traces), f"{file} holds the row"
    return decided


def row_windows(bundle: Path) -> list[bytes]:
    """Return every 64-byte window, at each number, of row 3."""
    row = Bundle.open(bundle).bank().row(3)
    data = [np.ascontiguousarray(row[part]).tobytes() for part in ("prompts", "head_weight")]
    return [part[start : start + 64] for part in data for start in range(0, len(part) - 63, 4)]


def every(template: Path, folder: Path, device: Path, traces: list[bytes], *, starve: bool) -> dict[str, int]:
    """Interrupt forget at every call, and recovery at every call after each of those."""
    case = Case.copy(template, device, folder / "count")
    ended, calls = in_child(case.forget)
    assert ended == DONE
    tried = {"forget": 0, "recovery": 0, "decided": 0}
    for first in range(1, calls + 1):
        case = Case.copy(template, device, folder / "case")
        ended, _ = in_child(case.forget, deadline=first, starve=starve)
        assert ended in ({DONE, REFUSED} if starve else {KILLED}), ended
        tried["forget"] += 1
        left = shutil.copytree(folder / "case", folder / "left", dirs_exist_ok=False)
        decided = finish(case, traces)
        tried["decided"] += decided
        if decided:
            second, ended = 0, KILLED
            while ended != DONE:
                second += 1
                shutil.rmtree(folder / "case")
                shutil.copytree(left, folder / "case")
                ended, _ = in_child(case.recover, deadline=second, starve=starve)
                assert ended in {DONE, REFUSED if starve else KILLED}, ended
                tried["recovery"] += 1
                finish(case, traces)
        shutil.rmtree(left)
    return tried


def at_random(template: Path, folder: Path, device: Path, traces: list[bytes], times: int) -> dict[str, int]:
    """Kill at random instants of a forget, and now and then again in the recovery."""
    rng = random.Random(0)
    tried = {"kills": 0, "too late": 0, "decided": 0, "recoveries killed": 0}
    longest = 0.02
    while tried["kills"] < times:
        case = Case.copy(template, device, folder / "case")
        killed = kill_after(case.forget, rng.uniform(0, longest))
        tried["kills" if killed else "too late"] += 1
        longest = longest * 1.02 if killed else longest * 0.98
        while rng.random() < 0.3:
            check(case, traces)
            tried["recoveries killed"] += kill_after(case.recover, rng.uniform(0, longest))
        tried["decided"] += finish(case, traces)
    return tried


def kill_after(act: Callable[[], object], seconds: float) -> bool:
    """Run in a forked process and kill it after a while; return whether that was in time."""
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED


def main() -> None:
    """Run one of the three."""
    how, template, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    traces = row_windows(template)
    device = folder / "template"
    state = DeviceState(device / "state", FileFloor(device / "floor"))
    with state.writing() as writer:  # a device that is in use: its key is made
        writer.raise_floor()
    if how == "random":
        tried = at_random(template, folder, device, traces, int(sys.argv[4]))
    else:
        tried = every(template, folder, device, traces, starve=how == "full")
    print(json.dumps(tried))  # noqa: T201 -- its output


if __name__ == "__main__":
    main()
