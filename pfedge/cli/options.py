"""Options that several device verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BundleOption = Annotated[Path, typer.Option("--bundle", "-b", envvar="PFEDGE_BUNDLE", help="The bundle's folder.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda or cuda:<i>; never another one silently.")]
