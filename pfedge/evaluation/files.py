"""Writing what an evaluation found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pfedge_runtime.files import finite, write_atomic


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 -- JSON
    """Write JSON values, indented, with null for what is no finite number."""
    write_atomic(path, (json.dumps(finite(value), indent=2, allow_nan=False) + "\n").encode())
