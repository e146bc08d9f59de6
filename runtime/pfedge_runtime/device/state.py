"""What a device remembers outside of any bundle: its key, its ledger, its receipts, keys of sealed rows.

    state = DeviceState.at()                     # PFEDGE_STATE_DIR, or the platform's own place
    state.tombstones()                           # what must never be accepted again
    with state.writing() as writer:
        writer.append(Entry.adopt(...))          # on the disk when it returns

A device that never forgot has no state, and reading makes none.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pfedge_runtime.bank import RowKey
from pfedge_runtime.device.entry import Entry, RowId
from pfedge_runtime.device.floor import FileFloor, Floor, require_above
from pfedge_runtime.device.ledger import Ledger, Tombstones
from pfedge_runtime.errors import KeyFileError, LedgerError, SealError, StorageError, TombstoneError, UsageError
from pfedge_runtime.files import append_line, exclusive, make_folder, read_file
from pfedge_runtime.signing import PrivateKey, PublicKey

STATE_DIR = "PFEDGE_STATE_DIR"
FLOOR_FILE = "PFEDGE_FLOOR_FILE"
LEDGER, PRIVATE_KEY, PUBLIC_KEY = "ledger.jsonl", "device.pem", "device.pub"

LedgerStamp = tuple[int, int, int]  # inode, nanoseconds of its last change, bytes


@dataclass(frozen=True)
class DeviceState:
    """A state folder and the floor under it.

    `DeviceState.at` names the folder; nothing is there until the device first adopts a bundle or forgets a row. Then
    `writing` makes the device's key and the floor, which stay the same for the life of the device. From then on every
    act appends a line to the ledger, under the one lock of the folder, and raises the floor. Whoever reads gets the
    ledger as it is on the disk at that moment, checked against key and floor; nothing is cached past a change. A state
    that was taken away, put back or edited is noticed by the next read, and stops the device.

    Attributes:
        path: the folder.
        floor: what knows how long its ledger was, outside of it.
    """

    path: Path
    floor: Floor

    @classmethod
    def at(cls) -> DeviceState:
        """Return the state that the environment names; it need not exist.

        Raises:
            UsageError: the environment names a relative path, or names none where the user has no home folder.
        """
        import platformdirs

        for name in (STATE_DIR, FLOOR_FILE):
            if not Path(os.environ.get(name) or "/").is_absolute():
                message = f"{name} must be an absolute path, or every folder would have a device of its own"
                raise UsageError(message)
        folder = os.environ.get(STATE_DIR)
        path = Path(folder) if folder else _at_home(platformdirs.user_state_path)
        named = os.environ.get(FLOOR_FILE)
        if named:
            return cls(path, FileFloor(Path(named)))
        own = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]
        return cls(path, FileFloor(_at_home(platformdirs.user_config_path) / f"{own}.floor"))

    @property
    def ledger_path(self) -> Path:
        """Where the ledger lies."""
        return self.path / LEDGER

    @property
    def receipts(self) -> Path:
        """Where receipts lie."""
        return self.path / "receipts"

    @property
    def row_keys(self) -> Path:
        """Where keys of sealed rows lie, by model id."""
        return self.path / "keys"

    def stamp(self) -> LedgerStamp | None:
        """Return what changes whenever the ledger does; None where there is none."""
        return _stamp(self.ledger_path)

    def public_key(self) -> PublicKey:
        """Return the device's public key.

        Raises:
            KeyFileError: there is none yet.
        """
        return PublicKey.load(self.path / PUBLIC_KEY)

    def ledger(self) -> Ledger:
        """Read the ledger, and check it against its chain, its head's signature and the floor.

        Raises:
            LedgerError: it was changed.
            StateError: it is an old copy, or gone.
        """
        floor = self.floor.read()  # before the ledger, which may grow meanwhile
        return _ledger(self, self.stamp(), floor)

    def tombstones(self) -> Tombstones:
        """Return what must never be accepted again.

        Raises:
            LedgerError, StateError: as `ledger`.
        """
        return self.ledger().tombstones

    def row_key_path(self, model_id: str, row: RowKey) -> Path:
        """Return where the key of a sealed row lies: under a name that any source can be part of."""
        name = hashlib.sha256(f"{row.class_id}@{row.source}".encode()).hexdigest()[:32]
        return self.row_keys / model_id / f"{name}.key"

    def read_row_keys(self, model_id: str, rows: Iterable[RowKey]) -> dict[RowKey, bytes]:
        """Return the keys that this device has of a model's sealed rows."""
        files = {row: self.row_key_path(model_id, row) for row in rows}
        return {row: read_file(file, SealError, limit=1 << 10) for row, file in files.items() if file.exists()}

    @contextmanager
    def writing(self, *, seconds: float | None = None) -> Iterator[Writer]:
        """Hold the state for writing; it is made if there is none.

        Raises:
            StorageError: another process holds it, or it cannot be written.
            LedgerError, StateError: as `ledger`.
        """
        make_folder(self.path, mode=0o700)
        with exclusive(self.path, seconds=seconds):
            key = self._device_key()
            floor = self.floor.read()
            yield Writer(self, key, _ledger(self, self.stamp(), floor), floor[1] if floor else None)

    def _device_key(self) -> PrivateKey:
        private, public = self.path / PRIVATE_KEY, self.path / PUBLIC_KEY
        if private.exists() and public.exists():
            key = PrivateKey.load(private)
            if not self.ledger_path.exists() and self.floor.read() is None:  # killed before the floor was made
                self.floor.raise_to(key.public.id, 0)
            return key
        if self.ledger_path.exists():
            message = f"{self.path} has a ledger and no device key: put {PRIVATE_KEY} and {PUBLIC_KEY} back"
            raise KeyFileError(message)
        require_above(self.floor.read(), None, 0, where=self.path)
        for half in (private, public):  # of a first start that was killed before there was a ledger
            half.unlink(missing_ok=True)
        key = PrivateKey.create(private)
        self.floor.raise_to(key.public.id, 0)
        return key


@dataclass
class Writer:
    """The state, held for writing.

    `DeviceState.writing` reads ledger and floor once its lock is held: nobody else can change them until it is let go
    of, so what `ledger` says is what is on the disk. `append` writes a line and has it in `ledger`. A line that was
    appended binds, whatever happens to the process. `raise_floor` makes the lines so far impossible to take away.

    Attributes:
        state: the device's.
        key: its private key.
        ledger: as it is on the disk.
        floor: how many lines the floor knows of; None where it knows nothing.
    """

    state: DeviceState
    key: PrivateKey
    ledger: Ledger
    floor: int | None

    def append(self, entry: Entry) -> Entry:
        """Append an entry durably; return it as it stands in the ledger.

        Raises:
            StorageError: it cannot be written; the ledger is as it was.
        """
        entry = self.ledger.append(self.key, entry)
        append_line(self.state.ledger_path, entry.line())
        self.ledger = Ledger((*self.ledger.entries, entry), self.ledger.key)
        return entry

    def raise_floor(self) -> None:
        """Tell the floor how long the ledger is, where it does not know.

        Raises:
            StateError, StorageError: it cannot be told.
        """
        lines = len(self.ledger.entries)
        if self.floor is None or self.floor < lines:
            self.state.floor.raise_to(self.key.public.id, lines)
            self.floor = lines


def require_allowed(tombstones: Tombstones, model_id: str, rows: Iterable[RowId], *, where: Path) -> None:
    """Refuse rows that were forgotten on this device, whatever bundle brings them back.

    Args:
        tombstones: the device's.
        model_id: the bundle's model.
        rows: the rows of its bank.
        where: the bundle, for the message.

    Raises:
        TombstoneError: one of them was; the message names the receipt.
    """
    for row in rows:
        forget = tombstones.find(model_id, row)
        if forget is not None:
            name = f"--source {row.source}" if row.source else f"--class {row.class_id}"
            message = (
                f"{where} is refused: its row {row} was forgotten on this device at {forget.time} (receipt "
                f"{forget.request}); drop it there too: pfedge forget {name} --bundle {where}"
            )
            raise TombstoneError(message)


def record_refusal(state: DeviceState, model_id: str, rows: Iterable[RowId], bank: str) -> None:
    """Write a refusal into the ledger, once for each bank and forget; a device that cannot write refuses all the same.

    Args:
        state: the device's.
        model_id: the bundle's model.
        rows: the rows of its bank, of which at least one is forbidden.
        bank: digest of that bank.
    """
    tombstones = state.tombstones()
    found = {row: tombstones.find(model_id, row) for row in rows}
    forbidden = tuple(row for row, forget in found.items() if forget is not None)
    forget = next(forget for forget in found.values() if forget is not None)
    with suppress(StorageError), state.writing(seconds=0.5) as writer:
        known = {(entry.bank_before, entry.request) for entry in writer.ledger.entries if entry.act == "refuse"}
        if (bank, forget.request) not in known:
            writer.append(Entry.refuse(forget, model_id=model_id, rows=forbidden, bank=bank))
            writer.raise_floor()


def _stamp(path: Path) -> LedgerStamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4)  # the ledger is read again only when it, or the floor, changed
def _ledger(state: DeviceState, stamp: LedgerStamp | None, floor: tuple[str, int] | None) -> Ledger:
    if not (state.path / PUBLIC_KEY).exists():
        if stamp is not None:
            message = f"{state.path} has a ledger and no {PUBLIC_KEY}: put it back"
            raise LedgerError(message)
        require_above(floor, None, 0, where=state.path)
        return Ledger((), None)
    key = state.public_key()
    ledger = Ledger((), key) if stamp is None else Ledger.read(state.ledger_path, key)
    require_above(floor, key.id, len(ledger.entries), where=state.path)
    return ledger


def _at_home(place: Callable[[str], Path]) -> Path:
    """Return a folder below the user's home.

    Raises:
        UsageError: there is none: neither HOME nor a line in /etc/passwd.
    """
    try:
        path = place("pfedge")
    except RuntimeError:
        path = Path()
    if not path.is_absolute():  # older versions of platformdirs leave the `~` as it is
        message = f"this user has no home folder for what the device remembers: set {STATE_DIR} and {FLOOR_FILE}"
        raise UsageError(message)
    return path
