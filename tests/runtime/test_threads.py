from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pfedge_runtime.engines import usable_threads


@pytest.fixture
def four_cores(tmp_path, monkeypatch):
    """Eight hardware threads, two a core; folders for a control group to be written to."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for cpu in range(8):
        folder = tmp_path / "cpus" / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    (tmp_path / "cgroup" / "cpu").mkdir(parents=True)
    return tmp_path


def threads(folder):
    return usable_threads(cgroups=folder / "cgroup", cpus=folder / "cpus")


def test_two_hardware_threads_of_a_core_count_once(four_cores):
    assert threads(four_cores) == 4


def test_a_machine_that_tells_nothing_of_cores_has_as_many_as_the_process_may_use(four_cores, tmp_path):
    assert usable_threads(cgroups=tmp_path / "none", cpus=tmp_path / "none") == 8


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000", 4), ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("900000 100000", 4)],
)
def test_a_quota_of_version_2_is_kept(four_cores, limit, expected):
    (four_cores / "cgroup" / "cpu.max").write_text(f"{limit}\n")
    assert threads(four_cores) == expected


@pytest.mark.parametrize(("quota", "expected"), [(-1, 4), (200000, 2), (10000, 1)])
def test_a_quota_of_version_1_is_kept(four_cores, quota, expected):
    (four_cores / "cgroup" / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (four_cores / "cgroup" / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert threads(four_cores) == expected


def test_a_quota_that_cannot_be_read_is_none(four_cores):
    (four_cores / "cgroup" / "cpu.max").write_text("nonsense")
    assert threads(four_cores) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="taskset is Linux's")
@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_a_process_on_one_core_runs_without_a_word(bundle_path, device):
    if device == "openvino":
        pytest.importorskip("openvino")
    script = (
        "import os, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from pfedge_runtime import Classifier; import numpy as np\n"
        "Classifier.open(sys.argv[1], device=sys.argv[2]).predict(np.zeros((2, 14, 14, 3), np.uint8))"
    )
    command = [sys.executable, "-c", script, bundle_path, device]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
