"""The documentation builds, with no link that leads nowhere, and fetches nothing when it is read."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from support.pages import ROOT

FETCHED = re.compile(
    r"<(?:script|img|iframe|source)[^>]+src=\"?(?:https?:)?//|<link[^>]+rel=\"?stylesheet\"?[^>]+https?://"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    # the table and the pages of the audits are made from their JSON
    subprocess.run([sys.executable, "benchmarks/tables/audits.py"], cwd=ROOT, check=True, capture_output=True)
    outcome = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    return folder


@pytest.mark.slow
def test_every_page_is_built_and_fetches_nothing(site):
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        name = "index.html" if page.name == "README.md" else f"{page.stem}.html"
        built = site / page.relative_to(docs).with_name(name)
        assert not FETCHED.search(built.read_text()), built


@pytest.mark.slow
@pytest.mark.parametrize("package", ["runtime", "export", "trainer"])
def test_the_reference_holds_every_public_name(site, package):
    import pfedge
    import pfedge_export
    import pfedge_runtime

    module = {"runtime": pfedge_runtime, "export": pfedge_export, "trainer": pfedge}[package]
    text = (site / "reference" / f"{package}.html").read_text()
    for name in module.__all__:
        assert name == "__version__" or f'id="{module.__name__}.{name}"' in text, name
