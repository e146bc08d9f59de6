"""Help under headings."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from pfedge.cli.panels import PanelCommand

PANELS = {
    "train": ["Data", "Model", "Training", "Guarantees isolated and exact", "Hardware", "Progress", "Output"],
    "eval": ["Arguments", "Data", "Model", "Measurement", "Hardware", "Output"],
    "export": [
        "Arguments", "Graph and engines", "Precision", "Parity", "Data", "Model", "Signing, sealing, audits", "Output",
    ],
    "audit": [
        "Arguments", "What is attacked and compared", "Measurement", "Other ways to forget", "Data", "Model",
        "Hardware", "Output",
    ],
    "import-reference": ["Arguments", "Data", "Model", "Training", "Hardware", "Output"],
}  # fmt: skip


def headings(text):
    return re.findall(r"^(\S.*):$", text, flags=re.MULTILINE)


def test_options_stand_under_their_panel_in_the_order_of_first_appearance():
    app = typer.Typer(rich_markup_mode=None)

    @app.command(cls=PanelCommand)
    def verb(
        path: str,
        *,
        first: Annotated[int, typer.Option(rich_help_panel="One")] = 1,
        second: Annotated[int, typer.Option(rich_help_panel="Two")] = 2,
        third: Annotated[int, typer.Option(rich_help_panel="One")] = 3,
        plain: int = 4,
    ) -> None:
        """Do nothing."""

    text = CliRunner().invoke(app, ["--help"]).stdout
    assert headings(text) == ["Arguments", "One", "Two", "Options"]
    words = [word for word in text.split() if word in {"One:", "--first", "--third", "Two:", "--second", "--plain"}]
    assert words == ["One:", "--first", "--third", "Two:", "--second", "--plain"]


@pytest.mark.parametrize("verb", PANELS)
def test_a_verb_of_the_trainer_shows_its_options_in_panels(cli, verb):
    assert headings(cli(verb, "--help").stdout) == [*PANELS[verb], "Options"]


def test_help_imports_neither_torch_nor_numpy():
    program = (
        "import sys; from typer.testing import CliRunner; from pfedge.cli.app import app\n"
        "outcome = CliRunner().invoke(app, ['train', '--help'])\n"
        "assert '--guarantee' in outcome.stdout\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
