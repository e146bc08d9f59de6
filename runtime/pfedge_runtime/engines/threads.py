"""How many threads this process may compute with.

    usable_threads()        # 2 in a container with --cpus 2, whatever the machine has

Left to themselves, back ends start a thread for every core of the machine and pin each to its core. In a container that
is more threads than run at once, and ONNX Runtime complains in red of each core it may not pin to.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS, CPUS = Path("/sys/fs/cgroup"), Path("/sys/devices/system/cpu")


def usable_threads(*, cgroups: Path = CGROUPS, cpus: Path = CPUS) -> int:
    """Return the number of cores this process may run on, two hardware threads of a core counted once, or its quota.

    Args:
        cgroups: where control groups are mounted; a container sees its own quota at the top.
        cpus: where the kernel says which hardware threads share a core.
    """
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # macOS and Windows have no such call, and no quota either
        return os.cpu_count() or 1
    cores = {_core(cpus, cpu) for cpu in allowed}
    return max(1, math.ceil(min(len(cores), _quota(cgroups))))


def _core(cpus: Path, cpu: int) -> str:
    """Return a name that the hardware threads of one core share."""
    try:
        return (cpus / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _quota(cgroups: Path) -> float:
    """Return how many processors' time the control group may use; infinity where it is not limited."""
    quotas = [math.inf]
    for limit, period in (("cpu.max", None), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):  # version 2, version 1
        try:
            words = (cgroups / limit).read_text().split()
            words += (cgroups / period).read_text().split() if period else []
            spent, of = (float(word) for word in words)  # `max 100000` and `-1 100000` say that there is none
        except (OSError, ValueError):
            continue
        if spent > 0 and of > 0:
            quotas.append(spent / of)
    return min(quotas)
