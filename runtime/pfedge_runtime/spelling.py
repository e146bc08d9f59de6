"""One text, several spellings: Unicode writes é as one character or as two, and both look alike.

A Mac names folders with two, most keyboards type one. Texts that people choose, names of classes and of files, are
compared in the composed form (NFC, Unicode Standard Annex 15), and new runs store them in it.
"""

from __future__ import annotations

import unicodedata


def composed(text: str) -> str:
    """Return a text in the form in which names are compared.

    >>> composed("cafe" + chr(0x301)) == "caf" + chr(0xE9)
    True
    """
    return unicodedata.normalize("NFC", text)
