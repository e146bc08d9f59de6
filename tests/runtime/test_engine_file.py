from __future__ import annotations

from dataclasses import replace

import pytest

from pfedge_runtime.engines import EngineAbout, list_engines, read_engine, write_engine
from pfedge_runtime.errors import BundleError

ABOUT = EngineAbout(
    graph="ab" * 32,
    profile={
        "smallest": {"images": [1, 8, 8, 3]},
        "usual": {"images": [1, 8, 8, 3]},
        "largest": {"images": [4, 8, 8, 3]},
    },
    precision="fp16",
    library="tensorrt-rtx",
    version="1.7.1",
    target="8.6",
)


def test_what_is_written_is_read_back(tmp_path):
    folder = write_engine(tmp_path, ABOUT, b"plan")
    assert folder == tmp_path / "engines" / ABOUT.key
    assert read_engine(tmp_path, ABOUT) == b"plan"
    assert [one["target"] for one in list_engines(tmp_path)] == ["8.6"]
    write_engine(tmp_path, ABOUT, b"another")
    assert read_engine(tmp_path, ABOUT) == b"plan"


@pytest.mark.parametrize(
    "other",
    [
        {"graph": "cd" * 32},
        {"profile": {}},
        {"precision": "fp32"},
        {"library": "tensorrt"},
        {"version": "1.7.2"},
        {"target": "8.9"},
        {"driver": "580.1"},
    ],
)
def test_an_engine_of_anything_else_is_not_found(tmp_path, other):
    write_engine(tmp_path, ABOUT, b"plan")
    with pytest.raises(BundleError, match=r"there are: tensorrt-rtx 1\.7\.1 for 8\.6\. Build one with pfedge export"):
        read_engine(tmp_path, replace(ABOUT, **other))


def test_no_engine_at_all(tmp_path):
    with pytest.raises(BundleError, match="there are: none"):
        read_engine(tmp_path, ABOUT)


def test_a_damaged_engine_is_refused(tmp_path):
    folder = write_engine(tmp_path, ABOUT, b"plan")
    (folder / "engine.plan").write_bytes(b"plam")
    with pytest.raises(BundleError, match=r"engine\.plan is damaged"):
        read_engine(tmp_path, ABOUT)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"graph": 1}', b"null"])
def test_a_damaged_description_is_refused(tmp_path, data):
    folder = write_engine(tmp_path, ABOUT, b"plan")
    (folder / "engine.json").write_bytes(data)
    with pytest.raises(BundleError, match=r"engine\.json is damaged"):
        read_engine(tmp_path, ABOUT)


def test_an_engine_put_under_anothers_key_is_refused(tmp_path):
    folder = write_engine(tmp_path, ABOUT, b"plan")
    other = replace(ABOUT, target="8.9")
    folder.rename(folder.parent / other.key)
    with pytest.raises(BundleError, match="is not the engine that"):
        read_engine(tmp_path, other)
