from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pfedge.cli.output import printable

CLI = Path(__file__).parents[2] / "pfedge" / "cli"
NAMES = {
    b"line\nbreak.png": r"line\nbreak.png",
    b"tab\tbed.png": r"tab\tbed.png",
    b"\x1b[31mred.png": r"\x1b[31mred.png",
    "left\u202egnp.png".encode(): r"left\u202egnp.png",
    b"latin-\xe9.png": r"latin-\udce9.png",
}


@pytest.fixture
def scans(golden, tmp_path):
    """One image under every name of `NAMES`."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in NAMES:
        Image.fromarray(golden["images"][0]).save(folder / os.fsdecode(name))
    return folder


def predict(bundle, *paths, **environment):
    command = [sys.executable, "-m", "pfedge", "predict", "--bundle", bundle, *paths]
    return subprocess.run(command, check=False, capture_output=True, env={**os.environ, **environment})


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_file_is_one_line_whatever_it_is_called(bundle_path, scans, encoding):
    done = predict(bundle_path, scans, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode(encoding).splitlines()
    assert {line.split("\t")[0] for line in lines} == {f"{scans}/{name}" for name in NAMES.values()}
    assert all(line.count("\t") == 2 for line in lines)


def test_json_names_the_file_itself(bundle_path, scans):
    done = predict(bundle_path, scans, "--json")
    named = {os.fsencode(json.loads(line)["source"]) for line in done.stdout.splitlines()}
    assert named == {os.fsencode(scans) + b"/" + name for name in NAMES}


def test_an_error_is_one_line_whatever_the_file_is_called(bundle_path, tmp_path):
    (tmp_path / "no\nimage.png").write_bytes(b"nothing")
    done = predict(bundle_path, tmp_path / "no\nimage.png", PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 2  # and the summary
    assert rb"no\nimage.png is not an image" in done.stderr


def test_a_name_that_the_terminal_cannot_show_is_escaped(bundle_path, golden, tmp_path):
    Image.fromarray(golden["images"][0]).save(tmp_path / "zellkörper-細胞.png")
    done = predict(bundle_path, tmp_path / "zellkörper-細胞.png", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert rb"zellk\xf6rper-\u7d30\u80de.png" in done.stdout


def test_what_can_be_seen_stays_as_it_is():
    assert printable("Zellkörper 細胞 [3] \\n") == "Zellkörper 細胞 [3] \\n"


def test_all_verbs_print_through_one_place():
    for file in CLI.rglob("*.py"):
        if file.name != "output.py":
            text = file.read_text()
            assert "typer.echo(" not in text, file
            assert not any(line.strip().startswith("print(") for line in text.splitlines()), file
