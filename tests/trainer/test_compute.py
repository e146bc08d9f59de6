from __future__ import annotations

import pytest
import torch

from pfedge.compute import choose_autocast, choose_device
from pfedge_runtime.errors import UsageError


def test_auto_takes_what_is_there():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["tpu", "cuda:x", ""])
def test_unknown_devices_are_refused(name):
    with pytest.raises(UsageError, match="unknown device"):
        choose_device(name)


def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="torch sees"):
        choose_device(f"cuda:{torch.cuda.device_count()}")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": True}, False),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC"}, True),
        ({"avx512_f": True, "cpu_name": "AMD EPYC"}, False),
    ],
)
def test_bf16_only_where_it_pays(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    with choose_autocast("auto", torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu") is expected
    with choose_autocast("bf16", torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu")
    with choose_autocast("fp32", torch.device("cpu")):
        assert not torch.is_autocast_enabled("cpu")


def test_unknown_precision_is_refused():
    with pytest.raises(UsageError, match="unknown precision"):
        choose_autocast("fp8", torch.device("cpu"))


def test_torch_keeps_to_the_quota_unless_told_otherwise(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr("pfedge.compute.usable_threads", lambda: 1)
    try:
        torch.set_num_threads(2)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        choose_device("cpu")
        assert torch.get_num_threads() == 2
        monkeypatch.delenv("OMP_NUM_THREADS")
        choose_device("cpu")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
