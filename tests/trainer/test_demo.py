from __future__ import annotations

import re

import pytest

from pfedge_runtime import Bundle


@pytest.mark.slow
def test_the_demo_runs_the_whole_path_and_says_what_happened(cli, tmp_path):
    text = cli("demo", "--epochs", 2, "--forget", 3).stdout
    assert re.search(r"forgetting\s+│ \d+\.\d ms", text)
    assert "accuracy on the other classes after" in text
    assert re.search(r"the old bundle put back\s+│ refused", text)
    assert Bundle.open(tmp_path / "demo" / "bundle").bank().class_ids == (0, 1, 2, 4, 5, 6, 7, 8, 9)
    assert (tmp_path / "demo" / "run" / "confusion.png").is_file()
    assert cli("predict", tmp_path / "demo" / "a_3.png", "--bundle", tmp_path / "demo" / "bundle").stdout
    again = cli("demo", check=False)
    assert "exists and is not empty" in again.stderr
