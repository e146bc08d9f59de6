"""Options that several device verbs share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from pfedge.cli.panels import DATA
from pfedge_runtime.errors import UsageError

BundleArgument = Annotated[
    Path | None,
    typer.Argument(metavar="[BUNDLE]", help="The bundle's folder; --bundle is the same.", show_default=False),
]
BundleOption = Annotated[
    Path | None,
    typer.Option("--bundle", "-b", help="The bundle's folder.", show_default="PFEDGE_BUNDLE, or bundle"),
]
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
ClassesOption = Annotated[
    Path | None,
    typer.Option(
        "--classes",
        "--class-names",
        help="Class names, one a line, in the order of their ids: of the folders, or of an .npz's labels.",
        show_default="the folders, sorted; those of the .npz",
        rich_help_panel=DATA,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]
DataTypeOption = Annotated[
    str | None,
    typer.Option(
        help="image or audio: checked against the data set, which decides.",
        show_default="the data set's",
        rich_help_panel=DATA,
    ),
]
FrameOption = Annotated[
    str | None,
    typer.Option(help="Of files with several frames or pages: a number from 1, or all.", show_default="refuse them"),
]


def _allow_pixels(value: int | None) -> int | None:
    if value is not None:
        from pfedge_runtime.inputs import allow_pixels

        allow_pixels(value)
    return value


MaxPixelsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        callback=_allow_pixels,
        help="The most pixels an image may have; raise it for scans.",
        show_default="89 million",
        rich_help_panel=DATA,
    ),
]


def parse_frame(text: str | None) -> int | Literal["all"] | None:
    """Return what `--frame` asks for.

    Raises:
        UsageError: it is neither a number from 1 nor `all`.
    """
    if text is None:
        return None
    if text == "all":
        return "all"
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    message = f"--frame takes a number from 1, or all; got {text!r}"
    raise UsageError(message)


def choose_bundle(argument: Path | None, option: Path | None) -> Path:
    """Return the bundle of a verb that takes it in both forms, `BundleArgument` and `BundleOption`.

    Where neither is given, it is what PFEDGE_BUNDLE says, or the folder `bundle`.

    Raises:
        UsageError: both are given, and differ.
    """
    if None not in {argument, option} and argument != option:
        message = f"two bundles are given, {argument} and --bundle {option}: give one"
        raise UsageError(message)
    return argument or option or Path(os.environ.get("PFEDGE_BUNDLE") or "bundle")


def require_data_type(asked: str | None, kind: str, dataset: str) -> str:
    """Return what a data set holds, `image` or `audio`.

    Raises:
        UsageError: the user said that it holds something else.
    """
    if asked not in {None, kind}:
        message = f"--data-type {asked} does not fit {dataset}, which is {kind} data"
        raise UsageError(message)
    return kind
