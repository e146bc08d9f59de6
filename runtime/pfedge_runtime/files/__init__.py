"""Files that survive a crash, and the JSON that is hashed and signed.

    durable     a file or folder is replaced whole, or not at all
    erasing     likewise, and the old bytes are overwritten before their last name goes
    appending   lines at the end of a file
    locking     one writer at a time in a folder
    encoding    canonical JSON, its bounded reader, digests

Nothing else in the runtime writes. May import: `errors`.
"""

from pfedge_runtime.files.appending import append_line
from pfedge_runtime.files.durable import (
    make_folder,
    require_vacant,
    staged_file,
    staged_folder,
    write_atomic,
    write_secret,
)
from pfedge_runtime.files.encoding import canonical_json, finite, parse_json, read_file, safe_reason, sha256_file
from pfedge_runtime.files.erasing import (
    erase,
    finish_erasing,
    remove_leftovers,
    replace_erasing,
    require_sole_copy,
    require_writable,
)
from pfedge_runtime.files.locking import exclusive

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
