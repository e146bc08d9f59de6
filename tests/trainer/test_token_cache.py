from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from pfedge.backbone import EmbeddingSpec, load_backbone
from pfedge.data import load_dataset
from pfedge.guarantees.isolated import IsolatedModel
from pfedge.guarantees.isolated import token_cache as cache
from pfedge.guarantees.isolated.token_cache import TokenCache, choose_place
from pfedge_runtime.errors import UsageError


@pytest.fixture(scope="module")
def model(tiny_vit):
    return IsolatedModel(load_backbone(str(tiny_vit)), class_ids=(0, 1), spec=EmbeddingSpec((2,), dim=16)).eval()


@torch.no_grad()
def test_every_place_gives_what_the_backbone_gives(model, shaded_npz, tmp_path):
    split = load_dataset(str(shaded_npz)).val
    index = np.array([37, 0, 5])
    inputs = torch.from_numpy(split.batch(index, model.backbone.preprocess))
    expected = model.run_backbone(inputs)
    for place in ("memory", "disk", "none"):
        kept = TokenCache(model, split, tmp_path, place=place)
        done = []
        kept.fill(done.append)
        frozen = kept.batch(index)
        assert kept.place == place
        assert done == ([] if place == "none" else [32, 40])
        assert torch.allclose(frozen.keys.float(), expected.keys, rtol=1e-2, atol=1e-2)  # bfloat16 has 8 bits
        assert torch.allclose(frozen.values.float(), expected.values, rtol=1e-2, atol=1e-2)
        assert torch.allclose(frozen.embedding, expected.embedding, atol=1e-5)
        assert len(list(tmp_path.iterdir())) == (place == "disk")
        kept.close()
        assert not list(tmp_path.iterdir())


def test_the_place_follows_from_what_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.os, "sysconf", {"SC_AVPHYS_PAGES": 100, "SC_PAGE_SIZE": 10}.__getitem__)
    usage = type(shutil.disk_usage(tmp_path))(10_000, 0, 10_000)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage)
    assert [choose_place("auto", needed, tmp_path) for needed in (500, 501, 5_000, 5_001)] == [
        "memory",
        "disk",
        "disk",
        "none",
    ]
    assert choose_place("none", 1, tmp_path) == "none"
    with pytest.raises(UsageError, match="unknown place 'tape'"):
        choose_place("tape", 1, tmp_path)


def test_what_a_killed_process_left_on_the_disk_is_removed(model, shaded_npz, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    abandoned, alive = tmp_path / f"cache-{gone.pid}-1f.bf16", tmp_path / f"cache-{os.getpid()}-1f.bf16"
    abandoned.touch()
    alive.touch()
    TokenCache(model, load_dataset(str(shaded_npz)).val, tmp_path, place="none")
    assert (abandoned.exists(), alive.exists()) == (False, True)
