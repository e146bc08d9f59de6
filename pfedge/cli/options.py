"""Options that several device verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.panels import DATA
from pfedge_runtime.errors import UsageError

BundleOption = Annotated[Path, typer.Option("--bundle", "-b", envvar="PFEDGE_BUNDLE", help="The bundle's folder.")]
DeviceOption = Annotated[
    str,
    typer.Option(help="cpu, cuda[:i], tensorrt[:i], rtx[:i], openvino or openvino:bf16; never another one silently."),
]
DataRootOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder that holds the files of a known data set.",
        show_default="~/.medmnist for MedMNIST",
        rich_help_panel=DATA,
    ),
]
DataTypeOption = Annotated[
    str | None,
    typer.Option(
        help="image or audio: checked against the data set, which decides.",
        show_default="the data set's",
        rich_help_panel=DATA,
    ),
]


def require_data_type(asked: str | None, kind: str, dataset: str) -> str:
    """Return what a data set holds, `image` or `audio`.

    Raises:
        UsageError: the user said that it holds something else.
    """
    if asked not in {None, kind}:
        message = f"--data-type {asked} does not fit {dataset}, which is {kind} data"
        raise UsageError(message)
    return kind
