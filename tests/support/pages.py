"""The pages that people read, and the commands in them.

A fenced block of `console` is a session: a line that begins with `$ ` is a command, and what follows is what it prints.
All blocks of a page are one session, in one folder, from top to bottom; a block of `python` is run in its turn.
A command that ends in `# exit code 1` is meant to. `...` stands for any output.

A comment `<!-- not run: WHY -->` right above a block says that it is not run, and why:

- `slow`: it takes more than a minute or so, or real data;
- `data`: it needs a file that only a reader has;
- `gpu`: it needs a GPU;
- `elsewhere`: it changes the machine, or another test runs it.

Such a block is read instead: its verbs, options, scripts and targets must exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
REASONS = {"slow", "data", "gpu", "elsewhere"}
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<why>\w+) -->\n)?^```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
EXIT_CODE = re.compile(r"# exit code (\d+)$")


@dataclass(frozen=True)
class Command:
    """A command, and what the page says that it prints."""

    line: str
    expected: str = ""

    @property
    def exit_code(self) -> int:
        """Return the exit code that the page names, or 0."""
        found = EXIT_CODE.search(self.line)
        return int(found[1]) if found else 0


@dataclass(frozen=True)
class Block:
    """A fenced block of `console` or `python`."""

    page: Path
    kind: str
    body: str
    not_run: str

    def commands(self) -> list[Command]:
        """Return the commands of a `console` block; a line that ends in a backslash goes on in the next one."""
        commands: list[Command] = []
        for line in self.body.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                commands.append(Command(line[2:]))
            else:
                last = commands.pop()
                commands.append(Command(last.line, f"{last.expected}{line}\n"))
        return commands


def all_pages() -> list[Path]:
    """Return every page that people wrote; decisions and the audits' reports hold no commands to run."""
    docs = [path for path in sorted((ROOT / "docs").rglob("*.md")) if path.parent.name not in {"adr", "audits"}]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "runtime/README.md", ROOT / "export/README.md", *docs]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    for found in FENCE.finditer(page.read_text(encoding="utf-8")):
        yield Block(page, found["kind"], found["body"], found["why"] or "")


def prose(page: Path) -> str:
    """Return a page without its fenced blocks, each run of white space as one space."""
    return " ".join(FENCE.sub("", page.read_text(encoding="utf-8")).split())
