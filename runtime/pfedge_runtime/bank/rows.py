"""Which row: the one identity that banks, manifests, ledgers and receipts share.

>>> RowKey(3, "clinic-7")
RowKey(class_id=3, source='clinic-7')
>>> str(RowKey(3, "clinic-7")), RowKey.parse("3")
('3@clinic-7', RowKey(class_id=3, source=''))
"""

from __future__ import annotations

import re
from typing import NamedTuple

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
