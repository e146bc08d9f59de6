"""How the house stands: where code asks for a guarantee by name or a bank by kind, and how large its rooms are.

    python scripts/house.py              # such places, rooms, and what is above a limit: then the exit code is 1
    python scripts/house.py --json
    python scripts/house.py --root OTHER_TREE

A *dispatch point* is a place where code chooses by a guarantee's name or by the kind of a bank or model. It is found in
the syntax tree, not in the text: a comparison with one of the names, a pattern of `match`, a table of which every key
is one of them, or an `isinstance`, `issubclass` or `type(x) is` on one of the kinds. An `__init__` is the room's door,
and counts as no module of it.
"""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

PACKAGES = ("runtime/pfedge_runtime", "export/pfedge_export", "pfedge")
GUARANTEES = {"shared", "isolated", "exact"}
KINDS = {"PromptBank", "StatisticsBank", "SealedBank", "PromptBankModel", "IsolatedModel", "ExactModel"}
REGISTRIES = ("runtime/pfedge_runtime/bank/", "pfedge/guarantees/")
MOST_DISPATCH, MOST_MODULES, MOST_LINES, MOST_FUNCTION_LINES = 10, 12, 400, 60


@dataclass(frozen=True)
class Place:
    """A line of code, and what stands there."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        """Return it as compilers do."""
        return f"{self.file}:{self.line}: {self.what}"


@dataclass(frozen=True)
class House:
    """What was found.

    Attributes:
        dispatch: every dispatch point.
        rooms: folder -> its modules.
        too_large: modules and functions above their limits.
    """

    dispatch: tuple[Place, ...]
    rooms: dict[str, int]
    too_large: tuple[Place, ...]

    def complaints(self) -> list[str]:
        """Return what is above a limit, in words."""
        found = [
            f"{count} modules in {room}, at most {MOST_MODULES}"
            for room, count in self.rooms.items()
            if count > MOST_MODULES
        ]
        found += map(str, self.too_large)
        if len(self.dispatch) > MOST_DISPATCH:
            found.append(f"{len(self.dispatch)} dispatch points, at most {MOST_DISPATCH}")
        outside = [place for place in self.dispatch if not place.file.startswith(REGISTRIES)]
        return found + [f"outside of the registries: {place}" for place in outside]


def inspect(root: Path) -> House:
    """Read the three packages below `root`."""
    dispatch: list[Place] = []
    too_large: list[Place] = []
    rooms: dict[str, int] = {}
    for file in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        name, text = file.relative_to(root).as_posix(), file.read_text()
        if file.name not in {"__init__.py", "__main__.py"}:
            room = file.parent.relative_to(root).as_posix()
            rooms[room] = rooms.get(room, 0) + 1
        tree = ast.parse(text)
        dispatch += [Place(name, line, what) for line, what in sorted(set(dispatch_points(tree)))]
        if (lines := len(text.splitlines())) > MOST_LINES:
            too_large.append(Place(name, 1, f"{lines} lines, at most {MOST_LINES}"))
        too_large += [
            Place(name, line, f"{function} has {length} lines without its docstring, at most {MOST_FUNCTION_LINES}")
            for line, function, length in functions(tree)
            if length > MOST_FUNCTION_LINES
        ]
    return House(tuple(dispatch), rooms, tuple(too_large))


def dispatch_points(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and text of every place that chooses by a guarantee's name or by the kind of a bank or model."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=left, comparators=right):
                asks = any(_names(one) or _last_name(one) in KINDS for one in (left, *right))
            case ast.MatchValue(value=value):
                asks = _names(value)
            case ast.Dict(keys=keys):
                asks = len(keys) > 1 and all(key is not None and _names(key) for key in keys)
            case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kind]):
                asks = any(_last_name(one) in KINDS for one in ast.walk(kind))
            case ast.MatchClass(cls=kind):
                asks = _last_name(kind) in KINDS
            case _:
                asks = False
        if asks:
            yield node.lineno, ast.unparse(node).splitlines()[0][:90]  # type: ignore[attr-defined]  # all cases have one


def _names(node: ast.AST) -> bool:
    """Whether this is a guarantee's name, or a set, tuple or list of such names."""
    match node:
        case ast.Constant(value=str() as text):
            return text in GUARANTEES
        case ast.Set(elts=parts) | ast.Tuple(elts=parts) | ast.List(elts=parts):
            return bool(parts) and all(_names(part) for part in parts)
    return False


def _last_name(node: ast.AST) -> str:
    """Return `PromptBank` of `PromptBank` and of `bank.PromptBank`; else nothing."""
    return getattr(node, "attr", getattr(node, "id", ""))


def functions(tree: ast.AST) -> Iterator[tuple[int, str, int]]:
    """Yield line, name and number of lines of every function, without its decorators and docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                text = node.body[0]
                length -= (text.end_lineno or text.lineno) - text.lineno + 1
            yield node.lineno, node.name, length


def main() -> None:
    """Print what was found; exit code 1 says that something is above a limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the tree to read")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    house = inspect(options.root)
    complaints = house.complaints()
    if options.json:
        print(json.dumps({**asdict(house), "complaints": complaints}, indent=1))
    else:
        print(*house.dispatch, f"{len(house.dispatch)} dispatch points", sep="\n")
        print(*(f"{count:3} modules in {room}" for room, count in house.rooms.items()), sep="\n")
        print(*complaints, sep="\n")
    raise SystemExit(bool(complaints))


if __name__ == "__main__":
    main()
