"""Reading what anyone may have written: whole files, JSON in its one canonical encoding, digests.

canonical_json({"b": 1, "a": 2})                       # b'{"a":2,"b":1}'
parse_json(read_file(path), str(path), BundleError)    # or a BundleError that names the file
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import rfc8785

from pfedge_runtime.errors import PfedgeError, StorageError

JSON_BYTES = 16 << 20


def read_file(path: Path, error_class: type[PfedgeError] = StorageError, *, limit: int = JSON_BYTES) -> bytes:
    """Return the bytes of a small file.

    Raises:
        PfedgeError: of `error_class`: it is missing, cannot be read, or is larger than `limit`.
    """
    try:
        if path.stat().st_size > limit:
            message = f"{path} is too large to be what it should be: more than {limit} bytes"
            raise error_class(message)
        return path.read_bytes()
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}"
        raise error_class(message) from error


def parse_json(data: bytes, source: str, error_class: type[PfedgeError]) -> Any:  # noqa: ANN401 -- any JSON value
    """Parse JSON that anyone may have written; `source` names it in errors.

    Raises:
        PfedgeError: of `error_class`: it is none, too large, or nested too deeply.
    """
    if len(data) > JSON_BYTES:
        message = f"{source} is too large to be what it should be: more than {JSON_BYTES} bytes"
        raise error_class(message)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        message = f"{source} is damaged: it is not JSON ({type(error).__name__})"
        raise error_class(message) from error


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
