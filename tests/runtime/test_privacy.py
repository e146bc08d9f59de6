from __future__ import annotations

import os
import subprocess
import sys

import pytest


def python(script, **environment):
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "PYTHONPATH", "LD_LIBRARY_PATH"}}
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, env={**kept, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("package", ["pfedge_runtime", "pfedge_export", "pfedge"])
def test_every_package_switches_telemetry_off_first(package):
    pytest.importorskip(package)
    script = f"import {package}, os; print(os.environ['ORT_DISABLE_TELEMETRY'], os.environ['HF_HUB_DISABLE_TELEMETRY'])"
    assert python(script, ORT_DISABLE_TELEMETRY="0") == ["1", "1"]


def test_who_allows_it_keeps_the_libraries_as_they_are():
    script = "import pfedge_runtime, os, sys; print(os.environ.get('ORT_DISABLE_TELEMETRY'), len(sys.meta_path))"
    plain = "import sys; print(None, len(sys.meta_path))"
    assert python(script, PFEDGE_ALLOW_TELEMETRY="1") == python(plain)


def test_a_library_that_was_imported_before_is_told():
    script = (
        "import sys, types\n"
        "early = sys.modules['onnxruntime'] = types.ModuleType('onnxruntime')\n"
        "early.disable_telemetry_events = lambda: print('told')\n"
        "import pfedge_runtime"
    )
    assert python(script) == ["told"]


def test_importing_pfedge_imports_none_of_the_libraries():
    script = "import pfedge_runtime, sys; print(*{'onnxruntime', 'openvino', 'numpy', 'matplotlib'} & set(sys.modules))"
    assert python(script) == []


def test_what_is_hidden_while_another_is_imported_is_there_again(tmp_path):
    pytest.importorskip("openvino")
    script = (
        "import pfedge_runtime, openvino, sys\n"
        "print('openvino_telemetry' in sys.modules)\n"
        "print(hasattr(openvino, 'convert_model'))"
    )
    assert python(script, HOME=str(tmp_path)) == ["False", "True"]


def test_urllib3_goes_on_with_ipv6():
    pytest.importorskip("urllib3")
    script = "import pfedge_runtime, socket, urllib3.util.connection as it; print(it.HAS_IPV6 == socket.has_ipv6)"
    assert python(script) == ["True"]


def test_caches_go_with_the_process_and_ones_own_folder_is_kept(tmp_path):
    pytest.importorskip("matplotlib")
    script = "import pfedge_runtime, matplotlib, os; print(os.environ['MPLCONFIGDIR'], matplotlib.get_configdir())"
    named, used = python(script, HOME=str(tmp_path), TMPDIR=str(tmp_path))
    assert named == used
    assert list(tmp_path.iterdir()) == []
    mine = tmp_path / "mine"
    assert python(script, HOME=str(tmp_path), TMPDIR=str(tmp_path), MPLCONFIGDIR=str(mine)) == [str(mine)] * 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows cannot fork")
def test_a_forked_child_leaves_its_parents_cache_alone(tmp_path):
    pytest.importorskip("matplotlib")
    script = (
        "import pfedge_runtime, matplotlib, os, sys\n"
        "child = os.fork()\n"
        "if child == 0: sys.exit(0)\n"
        "os.waitpid(child, 0)\n"
        "print(os.path.isdir(os.path.dirname(os.environ['MPLCONFIGDIR'])))"
    )
    assert python(script, HOME=str(tmp_path), TMPDIR=str(tmp_path)) == ["True"]
