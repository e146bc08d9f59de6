"""Options that several verbs of the trainer share, and settings made of options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pfedge.cli.panels import DATA, HARDWARE, MODEL, OUTPUT

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SettingsT = TypeVar("SettingsT", bound="DataclassInstance")

ModelPlaceOption = Annotated[
    str | None,
    typer.Option(help="Where the backbone is now.", show_default="where it was in training", rich_help_panel=MODEL),
]
SizeOption = Annotated[
    int | None,
    typer.Option(help="MedMNIST size: 28, 64, 128, 224.", show_default="fits", rich_help_panel=DATA),
]
DownloadOption = Annotated[bool, typer.Option(help="Fetch a missing MedMNIST file.", rich_help_panel=DATA)]
TorchDeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<i>.", rich_help_panel=HARDWARE)]
GpuOption = Annotated[
    int, typer.Option(min=0, help="Which GPU --device auto takes, where there is one.", rich_help_panel=HARDWARE)
]
TorchPrecisionOption = Annotated[str, typer.Option(help="auto, fp32 or bf16.", rich_help_panel=HARDWARE)]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace a run that is there.", rich_help_panel=OUTPUT)
]
TrainedJsonOption = Annotated[
    bool, typer.Option("--json", help="Print the run folder and its metrics as JSON.", rich_help_panel=OUTPUT)
]


def from_options(kind: type[SettingsT], options: Mapping[str, Any], **others: Any) -> SettingsT:  # noqa: ANN401
    """Return settings whose fields are the options of the same names.

    Args:
        kind: the class of the settings.
        options: by name, as typer has read them: `locals()` in the first line of a verb.
        others: fields that are called otherwise, or are no option as it stands.
    """
    same = {one.name: options[one.name] for one in fields(kind) if one.init and one.name in options}
    return kind(**{**same, **others})
