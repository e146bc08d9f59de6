"""Which devices of a fleet have forgotten, learnt offline from their receipts and ledgers alone.

    devices = read_devices(Path("devices.txt"))
    status = fleet_status([Path("exports")], devices, today=date(2026, 1, 31), wanted="3")
    {one.device.name: one.state for one in status.standings}        # {"clinic-a": "forgotten", "clinic-b": "overdue"}

Whose key a device's is, `devices.txt` alone says; a key that lies beside a receipt is never read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pfedge_runtime.arguments import Paths, as_paths
from pfedge_runtime.device import LEDGER_BYTES, Ledger
from pfedge_runtime.errors import LedgerError, PfedgeError, SignatureError, UsageError
from pfedge_runtime.files import parse_json, read_file
from pfedge_runtime.receipts.expected import ExpectedDevice
from pfedge_runtime.receipts.history import find_restoration, require_in_ledger
from pfedge_runtime.receipts.receipt import PREDICATE, Receipt
from pfedge_runtime.signing import PublicKey, read_unverified

FORGOTTEN, IN_PART, RESTORED, OVERDUE, PENDING = "forgotten", "in part", "restored", "overdue", "pending"
STATES = {
    FORGOTTEN: "a valid receipt says so",
    IN_PART: "receipts name rows of some sources of the class, and no receipt says whether it had others",
    RESTORED: "it was forgotten, and its ledger says that an authority allowed it again",
    OVERDUE: "no receipt, and the day it was due on is over",
    PENDING: "no receipt, and not yet due, or due on no day",
}
NO_LEDGER, VERIFIES, FAILS = "none given", "verifies", "DOES NOT VERIFY"
LEDGER_SUFFIX = ".jsonl"


@dataclass(frozen=True)
class Evidence:
    """A receipt that its device signed.

    Attributes:
        receipt: what it says.
        file: where it was found.
        restored: its forget was undone, as the device's ledger says.
    """

    receipt: Receipt
    file: Path
    restored: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        rows = [row.to_json() for row in self.receipt.rows]
        return {**vars(self.receipt), "rows": rows, "file": str(self.file), "restored": self.restored}


@dataclass(frozen=True)
class Standing:
    """How one device stands.

    Attributes:
        device: which.
        state: one of `STATES`.
        evidence: its receipts for what was asked, the earliest first.
        ledgers: its ledger's files that were given.
        ledger_problem: why they do not verify, or contradict a receipt; empty where all is well.
    """

    device: ExpectedDevice
    state: str
    evidence: tuple[Evidence, ...]
    ledgers: tuple[Path, ...]
    ledger_problem: str

    @property
    def ledger(self) -> str:
        """`verifies`, `none given` or `DOES NOT VERIFY`."""
        return NO_LEDGER if not self.ledgers else FAILS if self.ledger_problem else VERIFIES

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "device": self.device.name,
            "key": self.device.key.id,
            "due": self.device.due and self.device.due.isoformat(),
            "state": self.state,
            "receipts": [one.to_json() for one in self.evidence],
            "ledger": self.ledger,
            "ledger_problem": self.ledger_problem,
            "ledger_files": [str(path) for path in self.ledgers],
        }


@dataclass(frozen=True)
class Remark:
    """A file that counts for nothing, whether it is meant as a `receipt` or as a `ledger`, and why."""

    file: Path
    kind: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**vars(self), "file": str(self.file)}


@dataclass(frozen=True)
class FleetStatus:
    """How a fleet stands.

    Attributes:
        standings: each expected device's, in the order of `devices.txt`.
        problems: files that do not verify.
        unexpected: files of devices that are not expected; no key to check them with is known.
    """

    standings: tuple[Standing, ...]
    problems: tuple[Remark, ...]
    unexpected: tuple[Remark, ...]

    @property
    def complete(self) -> bool:
        """Whether every expected device has forgotten and every ledger that was given verifies."""
        unchecked = any(remark.kind == "ledger" for remark in (*self.problems, *self.unexpected))
        return not unchecked and all(one.state == FORGOTTEN and not one.ledger_problem for one in self.standings)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "complete": self.complete,
            "devices": [one.to_json() for one in self.standings],
            "problems": [remark.to_json() for remark in self.problems],
            "unexpected": [remark.to_json() for remark in self.unexpected],
        }


def fleet_status(
    paths: Paths, devices: Sequence[ExpectedDevice], *, today: date, wanted: str = "", model_id: str = ""
) -> FleetStatus:
    """Say of each device whether it has forgotten what is wanted.

    Args:
        paths: receipts, ledgers (`.jsonl`), and folders of both, such as `pfedge ledger export` writes.
        devices: those expected.
        today: what due dates are compared with.
        wanted: id or name of a class; `3@clinic-7` for its row of one source; empty for anything at all. Digits are
            always an id.
        model_id: of what model; empty for any.

    Raises:
        UsageError: a path is neither a file nor a folder.
    """
    sorter = _Sorter({device.key.id: device for device in devices})
    for file in _files(as_paths(paths)):
        sorter.add(file)
    standings = []
    for device in devices:
        ledgers, signed = sorter.ledgers.get(device.key.id, {}), sorter.receipts.get(device.key.id, [])
        ledger, problem = _read_ledgers(ledgers, device.key)
        problem = problem or (_find_contradiction(ledger, signed) if ledgers else "")
        asked = [
            Evidence(one.receipt, one.file, restored=find_restoration(one.receipt, ledger) is not None)
            for one in sorted(signed, key=lambda one: (one.receipt.time, one.receipt.ledger_lines))
            if _reach(one.receipt, wanted) and model_id in {"", one.receipt.model_id}
        ]
        state = _state(device, asked, wanted, today)
        standings.append(Standing(device, state, tuple(asked), tuple(ledgers), problem))
    return FleetStatus(tuple(standings), tuple(sorter.problems), tuple(sorter.unexpected))


@dataclass
class _Sorter:
    """Files by the device that they claim to be of; receipts only if it signed them."""

    devices: dict[str, ExpectedDevice]
    receipts: dict[str, list[Evidence]] = field(default_factory=dict)
    ledgers: dict[str, dict[Path, bytes]] = field(default_factory=dict)
    problems: list[Remark] = field(default_factory=list)
    unexpected: list[Remark] = field(default_factory=list)

    def add(self, file: Path) -> None:
        """Put a file where it belongs."""
        kind, add = ("ledger", self._add_ledger) if file.suffix == LEDGER_SUFFIX else ("receipt", self._add_receipt)
        try:
            stranger = add(file)
        except PfedgeError as error:
            self.problems.append(Remark(file, kind, str(error)))
            return
        if stranger is not None:
            self.unexpected.append(Remark(file, kind, f"of a device that is not expected, {stranger[:16]}"))

    def _add_receipt(self, file: Path) -> str | None:
        """Add a receipt; return the device that it claims to be of, where that is not expected."""
        data, source = read_file(file, SignatureError), str(file)
        claimed = Receipt.read_unverified(data, source=source).device
        signers = read_unverified(data, PREDICATE, source=source)[1]
        named = next((self.devices[key_id] for key_id in (claimed, *signers) if key_id in self.devices), None)
        if named is None:
            return claimed
        receipt = Receipt.verify(data, [named.key], source=source)
        known = self.receipts.setdefault(named.key.id, [])
        if receipt not in [one.receipt for one in known]:
            known.append(Evidence(receipt, file))
        return None

    def _add_ledger(self, file: Path) -> str | None:
        """Add a ledger; return the device that its first line names, where none of its lines names an expected one."""
        data = read_file(file, LedgerError, limit=LEDGER_BYTES)
        claimed = None
        for line in data.split(b"\n")[:-1]:
            key_id = _claimed_key(line)
            if key_id in self.devices:
                self.ledgers.setdefault(key_id, {})[file] = data
                return None
            claimed = claimed or key_id
        if not claimed:
            message = f"{file} is not a ledger, or has no whole line: no device is named in it"
            raise LedgerError(message)
        return claimed


def _files(paths: Iterable[Path]) -> list[Path]:
    """Return all files that may be receipts or ledgers, each once."""
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = (file for file in path.rglob("*") if file.suffix in {".json", LEDGER_SUFFIX} and file.is_file())
            found |= {file.resolve(): file for file in sorted(inside) if file.resolve() not in found}
        elif path.is_file():
            found.setdefault(path.resolve(), path)
        else:
            message = f"there is no file or folder {path}"
            raise UsageError(message)
    return list(found.values())


def _claimed_key(line: bytes) -> str:
    """Return the key that a line of a ledger names; empty where it names none. Trust nothing of it."""
    try:
        value = parse_json(line, "a line", LedgerError)
    except LedgerError:
        return ""
    key_id = value.get("key") if isinstance(value, dict) else None
    return key_id if isinstance(key_id, str) else ""


def _read_ledgers(files: dict[Path, bytes], key: PublicKey) -> tuple[Ledger, str]:
    """Return the longest of a device's ledgers that verify, and what is wrong with any of them."""
    longest, problem = Ledger((), key), ""
    for path, data in files.items():
        try:
            ledger = Ledger.from_bytes(data, key)
            ledger.verify()
        except LedgerError as error:
            problem = problem or f"{path}: {error}"
            continue
        if any(one != other for one, other in zip(ledger.entries, longest.entries, strict=False)):
            problem = problem or f"{path}: the device signed another history than this one, which was given too"
        longest = max(longest, ledger, key=lambda one: len(one.entries))
    return longest, problem


def _find_contradiction(ledger: Ledger, signed: list[Evidence]) -> str:
    """Say which receipt is not that of a line of its device's ledger; empty where each is."""
    for one in signed:
        try:
            require_in_ledger(one.receipt, ledger)
        except LedgerError as error:
            return str(error)
    return ""


def _reach(receipt: Receipt, wanted: str) -> str:
    """Return `forgotten` where a receipt covers what is wanted, `in part` for sources of a class, else nothing."""
    if not wanted:
        return FORGOTTEN
    is_id = wanted.partition("@")[0].isdecimal()
    names = [(str(row.class_id) if is_id else row.name, row.source) for row in receipt.rows]
    if any(wanted == (f"{name}@{source}" if source else name) for name, source in names):
        return FORGOTTEN
    return IN_PART if any(wanted == name for name, _ in names) else ""


def _state(device: ExpectedDevice, asked: list[Evidence], wanted: str, today: date) -> str:
    reached = {_reach(one.receipt, wanted) for one in asked if not one.restored}
    for state in (FORGOTTEN, IN_PART):
        if state in reached:
            return state
    if asked:
        return RESTORED
    return OVERDUE if device.due is not None and today > device.due else PENDING
