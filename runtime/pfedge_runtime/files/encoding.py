r"""Reading what anyone may have written: whole files, JSON in its one canonical encoding, digests.

>>> canonical_json({"b": 1, "a": [2.0, "é"]})
b'{"a":[2,"\xc3\xa9"],"b":1}'
>>> parse_json(b'{"a": ', "manifest.json", StorageError)
Traceback (most recent call last):
pfedge_runtime.errors.StorageError: manifest.json is damaged: it is not JSON (JSONDecodeError)
"""

from __future__ import annotations

import hashlib
import json
import math
import stat
from pathlib import Path
from typing import Any

import rfc8785

from pfedge_runtime.errors import PfedgeError, StorageError

JSON_BYTES = 16 << 20
JSON_DEPTH = 64
LONGEST_ERROR = 160
JSON_INTEGER, JSON_FLOAT = 2**53, 1e21  # canonical JSON has no way back for whole numbers between the two


def read_file(path: Path, error_class: type[PfedgeError] = StorageError, *, limit: int = JSON_BYTES) -> bytes:
    """Return the bytes of a small file.

    Raises:
        PfedgeError: of `error_class`: it is missing, cannot be read, or is larger than `limit`.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            message = f"{path} is not a file"
            raise error_class(message)
        if status.st_size > limit:
            message = f"{path} is too large to be what it should be: more than {limit} bytes"
            raise error_class(message)
        return path.read_bytes()
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}"
        raise error_class(message) from error


def parse_json(data: bytes | str, source: str, error_class: type[PfedgeError]) -> Any:  # noqa: ANN401 -- any JSON value
    """Parse JSON that anyone may have written; `source` names it in errors.

    Raises:
        PfedgeError: of `error_class`: it is none, too large, nested too deeply, or has no canonical encoding.
    """
    if len(data) > JSON_BYTES:
        message = f"{source} is too large to be what it should be: more than {JSON_BYTES} bytes"
        raise error_class(message)
    try:
        value = json.loads(data)
        _require_canonical(value, JSON_DEPTH)
    except (ValueError, RecursionError) as error:
        message = f"{source} is damaged: it is not JSON ({type(error).__name__})"
        raise error_class(message) from error
    return value


def safe_reason(error: Exception) -> str:
    """Return what an error says in a line, and nothing of the file it is about.

    A UnicodeDecodeError holds the bytes that it could not decode, other errors whatever was in their place.
    """
    if isinstance(error, (UnicodeDecodeError, UnicodeEncodeError)):
        return f"{type(error).__name__}: {error.reason}"
    text = repr(error)
    return text if len(text) <= LONGEST_ERROR else type(error).__name__


def finite(value: Any) -> Any:  # noqa: ANN401 -- JSON
    """Return JSON values with null in the place of what is no finite number.

    >>> finite({"auroc": float("nan"), "subsets": [1.0]})
    {'auroc': None, 'subsets': [1.0]}
    """
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits.

    Raises:
        StorageError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise StorageError(message) from error


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 -- any JSON value
    """Return the canonical encoding of a JSON value (RFC 8785): sorted keys, no spaces, UTF-8."""
    return rfc8785.dumps(value)


def _require_canonical(value: Any, depth: int) -> None:  # noqa: ANN401 -- any JSON value
    """Check that `canonical_json` takes a value, and that it is nested no deeper than `depth`.

    Raises:
        ValueError: it does not, or it is.
    """
    if isinstance(value, str):
        value.encode()  # halves of surrogate pairs have no encoding
    elif isinstance(value, (int, float)):
        large = abs(value) >= JSON_INTEGER and (isinstance(value, int) or abs(value) < JSON_FLOAT)
        if large or not math.isfinite(value):
            raise ValueError(type(value))
    elif value:
        if not depth:
            raise ValueError(depth)
        for part in (*value, *value.values()) if isinstance(value, dict) else value:
            _require_canonical(part, depth - 1)
