"""What machines read."""

from __future__ import annotations

import json
from typing import Any

import typer


def print_json(value: Any) -> None:  # noqa: ANN401 -- JSON
    """Print JSON values on a line, with null for what is no finite number."""
    from pfedge_runtime.files import finite

    typer.echo(json.dumps(finite(value), allow_nan=False))
