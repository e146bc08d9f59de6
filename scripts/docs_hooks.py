"""What mkdocs asks while it builds the docs: a folder in the navigation stands for the pages in it.

    nav:
      - Decisions: adr/

A new decision needs no line in mkdocs.yml.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace each folder in the navigation by its pages, the overview first."""
    docs = Path(config.docs_dir)
    config.nav = [_spelled_out(docs, entry) for entry in config.nav or []]
    return config


def _spelled_out(docs: Path, entry: dict[str, str | list[object]]) -> dict[str, str | list[object]]:
    ((title, target),) = entry.items()
    if not isinstance(target, str) or not target.endswith("/"):
        return entry
    pages = sorted((docs / target).glob("*.md"), key=lambda page: (page.name != "README.md", page.name))
    return {title: [page.relative_to(docs).as_posix() for page in pages]}
