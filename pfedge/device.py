"""Which device and which precision torch computes with."""

from __future__ import annotations

import torch

from pfedge_runtime.errors import UsageError


def choose_device(name: str, gpu_id: int = 0) -> torch.device:
    """Return the torch device called `auto` (GPU `gpu_id`, else the CPU), `cpu`, `cuda` or `cuda:<i>`.

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
    return torch.device(name)


def choose_autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the autocast context: bf16 where it pays (`auto`) or where asked for.

    On a CPU it pays with AMX. With AVX512-BF16 alone torch's products were slower in bf16 than in float32
    (`benchmarks/peers.py` prints both rates), and elsewhere bf16 is emulated.

    Raises:
        UsageError: the precision is unknown.
    """
    if precision not in {"auto", "fp32", "bf16"}:
        message = f"unknown precision {precision!r}: choose auto, fp32 or bf16"
        raise UsageError(message)
    if precision == "auto" and device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16" or (precision == "auto" and native))
