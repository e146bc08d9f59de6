"""Which device and which precision torch computes with."""

from __future__ import annotations

import os

import torch

from pfedge_runtime.engines import usable_threads
from pfedge_runtime.errors import UsageError


def choose_device(name: str, gpu_id: int = 0) -> torch.device:
    """Return the torch device called `auto` (GPU `gpu_id`, else the CPU), `cpu`, `cuda` or `cuda:<i>`.

    From then on torch keeps to the processors' time that a container has; it sees the cores, but not the quota.

    Raises:
        UsageError: the name is unknown, or there is no such GPU.
    """
    if name == "auto":
        name = f"cuda:{gpu_id}" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in {"cpu", "cuda"} or (index and not index.isdecimal()):
        message = f"unknown device {name!r}: choose auto, cpu, cuda or cuda:<i>"
        raise UsageError(message)
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        message = f"device {name} was asked for, but torch sees {torch.cuda.device_count()} GPUs"
        raise UsageError(message)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), usable_threads()))
    return torch.device(name)


def choose_autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the autocast context: bf16 where it pays (`auto`) or where asked for.

    On a CPU it pays with AMX. With AVX512-BF16 alone torch's products were twice as fast in bf16 as in float32 on AMD's
    processors and half as fast on Intel's (`benchmarks/speed/peers.py` prints both rates); elsewhere bf16 is emulated.

    Raises:
        UsageError: the precision is unknown.
    """
    if precision not in {"auto", "fp32", "bf16"}:
        message = f"unknown precision {precision!r}: choose auto, fp32 or bf16"
        raise UsageError(message)
    if precision == "auto" and device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.cpu.get_capabilities()
        native = bool(able.get("amx_bf16") or (able.get("avx512_bf16") and "AMD" in str(able.get("cpu_name"))))
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16" or (precision == "auto" and native))


def computes_bf16(autocast: torch.autocast) -> bool:
    """Return whether a context of `choose_autocast` computes in bf16."""
    enabled: bool = autocast._enabled  # noqa: SLF001 -- torch has no public reader
    return enabled
