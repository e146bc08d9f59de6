"""The house keeps its shape: `python scripts/house.py` says where and why it would not."""

from __future__ import annotations

import ast
import sys

import pytest

from support.paths import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
try:
    import house
finally:
    sys.path.remove(str(ROOT / "scripts"))


def test_guarantees_are_chosen_in_their_registries_and_rooms_stay_readable():
    assert house.inspect(ROOT).complaints() == []


def test_no_test_module_imports_another():
    names = {file.stem for file in (ROOT / "tests").rglob("*.py") if file.stem.startswith(("test_", "conftest"))}
    for file in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            imported = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert names.isdisjoint(name.rpartition(".")[2] for name in imported), f"{file}:{node.lineno}"


@pytest.mark.parametrize(
    "code",
    [
        "x == 'exact'",
        "x in {'shared', 'isolated'}",
        "x not in ('exact',)",
        "TABLE = {'shared': 1, 'exact': 2}",
        "isinstance(x, PromptBank)",
        "isinstance(x, bank.SealedBank | dict)",
        "type(x) is StatisticsBank",
        "match x:\n    case 'exact': pass",
        "match x:\n    case ExactModel(): pass",
    ],
)
def test_every_way_to_choose_by_guarantee_is_found(code):
    assert len(list(house.dispatch_points(ast.parse(code)))) == 1


@pytest.mark.parametrize("code", ["guarantee('exact')", "x == 'other'", "isinstance(x, dict)", "{'exact': 1, 'n': 2}"])
def test_what_only_names_a_guarantee_is_not_counted(code):
    assert list(house.dispatch_points(ast.parse(code))) == []
