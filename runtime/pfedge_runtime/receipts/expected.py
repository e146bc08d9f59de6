"""Which devices an officer expects to forget: a file of lines `NAME PUBLIC_KEY_FILE [YYYY-MM-DD]`.

    # the clinics that have the model
    clinic-a  keys/clinic-a.pub  2026-01-31
    clinic-b  keys/clinic-b.pub

Whose key a device's is, this file alone says; a key that lies beside a receipt is never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pfedge_runtime.errors import KeyFileError, UsageError
from pfedge_runtime.files import read_file
from pfedge_runtime.signing import PublicKey


@dataclass(frozen=True)
class ExpectedDevice:
    """A device that is expected to forget.

    Attributes:
        name: what the officer calls it.
        key: its public key, the only one that counts for it.
        due: the last day on which it may forget; None where there is none.
    """

    name: str
    key: PublicKey
    due: date | None = None


def read_devices(path: Path) -> tuple[ExpectedDevice, ...]:
    """Read which devices are expected: `NAME PUBLIC_KEY_FILE [YYYY-MM-DD]` a line, `#` begins a comment.

    Raises:
        UsageError: the file is missing or names no device, or a line is malformed, its key file is none, or it names a
            device a second time; the message has the line's number.
    """
    try:
        lines = read_file(path, UsageError).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        message = f"{path} is not a text file in UTF-8"
        raise UsageError(message) from error
    devices: list[ExpectedDevice] = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        comment = next((index for index, word in enumerate(words) if word.startswith("#")), len(words))
        if not comment:
            continue
        try:
            device = _parse_device(words[:comment], path.parent)
        except (ValueError, KeyFileError) as error:
            message = f"{path} line {number}: {error}"
            raise UsageError(message) from error
        if any(other.name == device.name or other.key.id == device.key.id for other in devices):
            message = f"{path} line {number}: {device.name} has the name or the key of a device further up"
            raise UsageError(message)
        devices.append(device)
    if not devices:
        message = f"{path} names no device: one a line, NAME PUBLIC_KEY_FILE [YYYY-MM-DD]"
        raise UsageError(message)
    return tuple(devices)


def _parse_device(words: list[str], folder: Path) -> ExpectedDevice:
    """Read the words of a line.

    Raises:
        ValueError: there are too few or too many, or the last is not a date.
        KeyFileError: the key file is none.
    """
    most = 3
    if not most - 1 <= len(words) <= most:
        message = f"expected NAME PUBLIC_KEY_FILE [YYYY-MM-DD], got {' '.join(words)!r}"
        raise ValueError(message)
    due = date.fromisoformat(words[2]) if len(words) == most else None
    if due is not None and due.isoformat() != words[2]:
        message = f"a date is written YYYY-MM-DD, got {words[2]!r}"
        raise ValueError(message)
    return ExpectedDevice(words[0], PublicKey.load(folder / words[1]), due)
