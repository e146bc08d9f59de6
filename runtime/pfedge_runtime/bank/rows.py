"""Which row: the one identity that banks, manifests, ledgers and receipts share.

>>> RowKey(3, "clinic-7")
RowKey(class_id=3, source='clinic-7')
>>> str(RowKey(3, "clinic-7")), RowKey.parse("3")
('3@clinic-7', RowKey(class_id=3, source=''))
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from pfedge_runtime.errors import UsageError

CLASS_ID = re.compile("0|[1-9][0-9]{0,14}")


class RowKey(NamedTuple):
    """A class and, where rows are kept apart by source (a clinic, say), a source. Ordered by class, then source."""

    class_id: int
    source: str = ""

    def __str__(self) -> str:
        """Return `3` or `3@clinic-7`."""
        return f"{self.class_id}@{self.source}" if self.source else str(self.class_id)

    @classmethod
    def parse(cls, text: str) -> RowKey:
        """Read back what `str` gave.

        Raises:
            ValueError: it is no key.
        """
        class_id, at, source = text.partition("@")
        if not CLASS_ID.fullmatch(class_id) or (at and not source):
            message = f"{text!r} is no row's key"
            raise ValueError(message)
        source.encode()  # half a surrogate pair, which JSON may name, has no encoding: a ValueError
        return cls(int(class_id), source)


class NotPickled:
    """What holds rows and makes no copy of them that a forget cannot find."""

    def __reduce__(self) -> NoReturn:
        """Refuse.

        Raises:
            UsageError: always.
        """
        message = "a bank is not pickled, nothing would forget the copy: send the bundle's path, and open it there"
        raise UsageError(message)


class KeyedRows(NotPickled):
    """What banks have in common that keep each row under its key.

    Attributes:
        rows: key -> row, in order of the keys.
    """

    rows: Mapping[RowKey, Any]

    @property
    def row_keys(self) -> tuple[RowKey, ...]:
        """Which rows there are, increasing."""
        return tuple(self.rows)

    @property
    def class_ids(self) -> tuple[int, ...]:
        """The classes that have at least one row, increasing."""
        return tuple(sorted({key.class_id for key in self.rows}))

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources that have at least one row, increasing."""
        return tuple(sorted({key.source for key in self.rows if key.source}))

    def __len__(self) -> int:
        """Return K, the number of classes that have a row."""
        return len(self.class_ids)
