"""Options of the trainer's verbs and the settings made of them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import pytest
import typer

from pfedge import import_reference
from pfedge.auditing.case import AuditSettings
from pfedge.cli.app import app
from pfedge.cli.training.options import from_options
from pfedge.evaluation import EvalSettings
from pfedge.exporting import ExportSettings
from pfedge.runs import TrainConfig
from pfedge.training import TrainSettings

VERBS = {
    "train": (
        (TrainConfig, TrainSettings),
        {"exclude_class", "add_to", "data_type", "max_pixels", "mean", "std", "interpolation", "as_json"},
        {"exclude", "preprocessor"},
    ),
    "eval": ((EvalSettings,), {"run", "ckpt", "k", "data_type", "max_pixels", "as_json"}, {"sizes"}),
    "export": (
        (ExportSettings,),
        {
            "run",
            "to",
            "graph_opset",
            "compute_capability",
            "max_batch",
            "sign",
            "seal",
            "audit",
            "max_pixels",
            "as_json",
        },
        {"opset", "keys_out", "signer", "audits"},
    ),
    "audit": ((AuditSettings,), {"run", "forget", "max_pixels", "as_json"}, set()),
    "import-reference": (
        (import_reference.ImportSettings,),
        {"ckpt", "out", "overwrite", "max_pixels", "as_json"},
        set(),
    ),
}


@dataclass(frozen=True)
class Settings:
    size: int = 1
    names: tuple[str, ...] = ()
    kind: str = field(default="one", init=False)


def test_settings_take_the_options_that_are_called_like_their_fields():
    options = {"size": 3, "kind": "two", "name": ["a"], "as_json": True}
    assert from_options(Settings, options, names=("a",)) == Settings(size=3, names=("a",))
    assert from_options(Settings, options, size=4).size == 4


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_a_field_of_settings_or_known_to_be_none(verb):
    kinds, only_options, only_fields = VERBS[verb]
    options = {parameter.name for parameter in typer.main.get_command(app).commands[verb].params}
    names = {one.name for kind in kinds for one in fields(kind)}
    assert options - names == only_options
    assert names - options == only_fields
