"""What the pages name exists: verbs, options, scripts, targets, extras, files; and the README is one page."""

from __future__ import annotations

import re
import runpy
import shlex
import tomllib

import pytest
import typer

from pfedge.cli.app import app
from support.pages import REASONS, ROOT, all_pages, blocks, prose

PAGES = pytest.mark.parametrize("page", all_pages(), ids=lambda page: str(page.relative_to(ROOT)))
KINDS = {"console", "python", "text", "json", "toml", "yaml"}
CLI = typer.main.get_command(app)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)|(?:src|srcset)=\"([^\":]+)\"")
NAMED_FILE = re.compile(r"`((?:benchmarks|docs|export|pfedge|runtime|scripts|tests)/[\w./-]+)`")


def verb_of(words):
    """Return the command that `pfedge WORDS` runs, its context, and the words that are left for it."""
    command, context, rest = CLI, None, list(words)
    while True:
        context = command.context_class(command, info_name=command.name, parent=context, **command.context_settings)
        if not hasattr(command, "commands") or not rest or rest[0].startswith("-"):
            return command, context, rest
        assert rest[0] in command.commands, f"no verb {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]


def simple_commands(line):
    """Yield the words of each command in a line of shell, without comments, assignments and what a pipe hides."""
    words: list[str] = []
    for word in [*shlex.split(line, comments=True), "&&"]:
        if word in {"&&", "|", ";"}:
            if words:
                yield words
            words = []
        elif words or not re.fullmatch(r"\w+=.*", word):
            words.append(word)


def check_pfedge(words):
    command, context, rest = verb_of(words)
    command.make_parser(context).parse_args(args=list(rest))  # raises for an option that the verb does not have


def check_script(words):
    script = ROOT / words[0]
    assert script.is_file(), f"no {words[0]}"
    text = script.read_text()
    for word in words[1:]:
        assert not word.startswith("--") or f'"{word}"' in text, f"{words[0]} has no {word}"


def check_target(words):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for word in words:
        assert "=" in word or word in targets, f"no target {word}"


def check_extras(words):
    for word in words[1:]:
        folder, _, extras = word.partition("[")
        about = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        for extra in filter(None, extras.rstrip("]").split(",")):
            assert extra in about["optional-dependencies"], f"{folder} has no extra {extra}"


CHECKS = {"pfedge": check_pfedge, "python": check_script, "make": check_target, "pip": check_extras}


@PAGES
def test_every_block_says_what_it_is(page):
    found = list(blocks(page))
    assert page.read_text().count("```") == 2 * len(found), "a fence that is not read"
    for block in found:
        assert block.kind in KINDS, f"a block of {block.kind or 'nothing'}: {block.body[:60]}"
        assert block.not_run in {"", *REASONS}


@PAGES
def test_every_command_in_a_block_exists(page):
    for block in blocks(page):
        for command in block.commands() if block.kind == "console" else ():
            for program, *words in simple_commands(command.line):
                if program in CHECKS:
                    CHECKS[program](words)


@PAGES
def test_every_verb_and_option_named_in_prose_exists(page):
    for code in re.findall(r"`pfedge ([a-z][^`]*)`", prose(page)):
        words = code.replace("...", "").split()
        command, _, rest = verb_of(words)
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in rest:
            option = word.partition("=")[0].replace("_", "-")
            assert not word.startswith("--") or option in {*options, "--help"}, f"pfedge {code}: no {word}"


@PAGES
def test_every_file_named_exists(page):
    for named in NAMED_FILE.findall(page.read_text()):
        assert (ROOT / named).exists(), f"{named}, named in {page.name}"
    for script in re.findall(r"`python ([\w/]+\.py)", prose(page)):
        assert (ROOT / script).is_file(), f"{script}, named in {page.name}"


@PAGES
def test_every_relative_link_leads_to_a_file(page):
    for markdown, attribute in LINK.findall(page.read_text()):
        assert (page.parent / (markdown or attribute)).exists(), f"{markdown or attribute}, linked from {page.name}"


def test_an_option_that_no_verb_has_is_found():
    with pytest.raises(Exception, match="--no-such"):
        check_pfedge(["forget", "--no-such"])
    with pytest.raises(AssertionError, match="no verb"):
        check_pfedge(["remember", "--class", "3"])


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().split()) <= 1000


def test_the_picture_is_what_its_script_draws():
    script = runpy.run_path(str(ROOT / "scripts" / "readme_picture.py"))
    for theme in (script["LIGHT"], script["DARK"]):
        assert (ROOT / "docs" / f"pfedge-{theme.name}.svg").read_text() == script["draw"](theme)
