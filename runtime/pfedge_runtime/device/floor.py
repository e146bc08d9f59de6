"""A floor under the ledger: a counter that only rises, kept where a copied-back state folder does not reach.

    floor = FileFloor(Path("/var/lib/pfedge-floor"))
    floor.raise_to(key_id, 12)
    floor.check(key_id, 11)          # StateError: an old state was put back

`FileFloor` is a file outside the state folder. It holds against copies, backups and restores of the state, not against
someone who may also write that file; a TPM's counter does, behind the same two methods (`Floor`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pfedge_runtime.errors import StateError
from pfedge_runtime.files import canonical_json, make_folder, parse_json, read_file, remove_leftovers, write_atomic


class Floor(Protocol):
    """A counter that only rises, of one device key."""

    def read(self) -> tuple[str, int] | None:
        """Return the device key's id and how many lines its ledger had at least; None where nothing was ever kept.

        Raises:
            StateError: it is there and cannot be read.
        """

    def raise_to(self, key_id: str, lines: int) -> None:
        """Keep that a ledger has so many lines; lower numbers change nothing.

        Raises:
            StateError: it belongs to another key.
            StorageError: it cannot be kept.
        """


@dataclass(frozen=True)
class FileFloor:
    """The counter in a file of its own."""

    path: Path

    def read(self) -> tuple[str, int] | None:
        """Return what the file says; see `Floor`."""
        if not self.path.exists():
            return None
        value = parse_json(read_file(self.path, StateError), str(self.path), StateError)
        try:
            key_id, lines = value["key"], value["lines"]
        except (TypeError, KeyError) as error:
            message = f"{self.path} is damaged: it is not the floor of a ledger"
            raise StateError(message) from error
        if not isinstance(key_id, str) or type(lines) is not int:
            message = f"{self.path} is damaged: it is not the floor of a ledger"
            raise StateError(message)
        return key_id, lines

    def raise_to(self, key_id: str, lines: int) -> None:
        """Write the file where the number rises; see `Floor`."""
        known = self.read()
        if known is not None and known[0] != key_id:
            message = f"{self.path} is the floor of another device key: name another with PFEDGE_FLOOR_FILE"
            raise StateError(message)
        if known is not None and known[1] >= lines:
            return
        make_folder(self.path.parent)
        remove_leftovers(self.path)
        write_atomic(self.path, canonical_json({"key": key_id, "lines": lines}))


def require_above(known: tuple[str, int] | None, key_id: str | None, lines: int, *, where: Path) -> None:
    """Refuse a state that the floor has seen further on.

    Args:
        known: what the floor said before the state was read, which may have grown since.
        key_id: the device key that the state has; None where there is no state.
        lines: how many lines its ledger has.
        where: the state folder, for the message.

    Raises:
        StateError: the state is an older one, another one, or gone.
    """
    if known is None:
        if lines:
            message = f"the floor of {where} is missing: PFEDGE_FLOOR_FILE must name where it was kept"
            raise StateError(message)
        return
    if key_id is None:
        message = f"the device state {where} is gone: its floor knows {known[1]} lines of a ledger; put it back"
        raise StateError(message)
    if known[0] != key_id:
        message = f"the device state {where} is another device's than its floor's: put the right one back"
        raise StateError(message)
    if lines < known[1]:
        message = (
            f"the device state {where} is an old copy: its ledger has {lines} lines and had {known[1]}; "
            "put the latest one back"
        )
        raise StateError(message)
