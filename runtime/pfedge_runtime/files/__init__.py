"""Files that survive a crash, and the JSON that is hashed and signed.

`durable` is the only module of the runtime that writes: a file is replaced whole or not at all, or overwritten before
it goes. `encoding` is canonical JSON, its bounded reader, and digests.

May import: `errors`.
"""

from pfedge_runtime.files.durable import (
    append_line,
    erase,
    exclusive,
    finish_erasing,
    make_folder,
    remove_leftovers,
    replace_erasing,
    require_sole_copy,
    require_vacant,
    require_writable,
    staged_file,
    staged_folder,
    write_atomic,
    write_secret,
)
from pfedge_runtime.files.encoding import canonical_json, finite, parse_json, read_file, safe_reason, sha256_file

__all__ = [
    "append_line",
    "canonical_json",
    "erase",
    "exclusive",
    "finish_erasing",
    "finite",
    "make_folder",
    "parse_json",
    "read_file",
    "remove_leftovers",
    "replace_erasing",
    "require_sole_copy",
    "require_vacant",
    "require_writable",
    "safe_reason",
    "sha256_file",
    "staged_file",
    "staged_folder",
    "write_atomic",
    "write_secret",
]
