"""Reading a bank whose kind is not known beforehand: the format that the file names finds the reader.

>>> from pfedge_runtime.bank.prompt_bank import PromptBank
>>> import numpy as np
>>> bank = PromptBank((0, 3), *(np.ones(shape, np.float32) for shape in [(2, 1, 4), (2, 4), (2,), (2,)]))
>>> read_bank(bank.to_bytes(), source="bank.safetensors").row_keys == bank.row_keys
True
>>> bank_format(bank.to_bytes()[:512])
'pfedge-bank/1'
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pfedge_runtime.bank.codec import METADATA, Buffer, decode
from pfedge_runtime.bank.guarantees import BANKS
from pfedge_runtime.bank.protocol import StoredBank
from pfedge_runtime.bank.sealed_bank import SealedBank
from pfedge_runtime.errors import BankError

READERS: Mapping[str, type[StoredBank]] = {**BANKS, SealedBank.FORMAT: SealedBank}
OPENING = f'{METADATA}{{"format":'
HEAD = 512  # bytes in which the name of a format stands


def read_bank(data: bytes | bytearray, *, source: str) -> StoredBank:
    """Read a bank's file of whatever format; `source` names it in errors.

    Raises:
        BankError: the bytes are not a whole bank of a format that this version knows.
    """
    name = bank_format(data[:HEAD])
    if name is None:  # it does not begin as banks do: another tool may have written it
        _, form = decode(data, source)
        name = _name(form)
        if name not in READERS:
            message = f"{source} is not a bank of format {' or '.join(READERS)}: its format is {form}"
            raise BankError(message)
    return READERS[name].from_bytes(data, source=source)


def bank_format(head: Buffer) -> str | None:
    """Return the format of a bank, given the first bytes of its file; None where they are no known bank's.

    A header is parsed as far as the format alone: that of a thousand rows takes longer than the rows.
    """
    text = bytes(head[8:]).decode(errors="replace")
    if not text.startswith(OPENING):
        return None
    try:
        form, _ = json.JSONDecoder().raw_decode(text, len(OPENING))
    except (ValueError, RecursionError):
        return None
    name = _name(form) if isinstance(form, str) else ""
    return name if name in READERS else None


def _name(form: str) -> str:
    """Return the name of a format that a file gives by itself or, as JSON, beside settings that its rows share."""
    try:
        about = json.loads(form)
    except (ValueError, RecursionError):
        return form
    name = about.get("format") if isinstance(about, dict) else None
    return name if isinstance(name, str) else ""
