"""Options in `--help` under headings, a *panel* each: typer does so with rich's markup only, which is off here."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

ARGUMENTS = "Arguments"
DATA = "Data"
MODEL = "Model"
TRAINING = "Training"
HARDWARE = "Hardware"
OUTPUT = "Output"
OTHERS = "Options"


class PanelCommand(TyperCommand):
    """A verb whose help lists options under the `rich_help_panel` of each, in the order in which panels first appear.

    What names no panel, such as `--help`, stands under "Options".
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 -- click's, which typer may hide in itself
        """Write the panels."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                default = ARGUMENTS if parameter.param_type_name == "argument" else OTHERS
                panels.setdefault(getattr(parameter, "rich_help_panel", None) or default, []).append(record)
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records)
