from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")

SCRIPT = """
import os, sys
import numpy as np
from pfedge_runtime import Classifier

classifier = Classifier.open(sys.argv[1], device=sys.argv[2], threads=4)
images = np.zeros((4, 14, 14, 3), np.uint8)
expected = classifier.predict(images)
child = os.fork()
if child == 0:
    if sys.argv[3] == "predicts":
        assert classifier.predict(images) == expected
        assert classifier._engine.sessions == 2
    sys.exit(0)          # all is torn down, as at any other end
assert os.waitpid(child, 0)[1] == 0
assert classifier.predict(images) == expected
assert classifier._engine.sessions == 1
"""


@pytest.mark.parametrize("what", ["predicts", "does nothing"])
@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_a_forked_child_predicts_and_ends(bundle_path, device, what):
    if device == "openvino":
        pytest.importorskip("openvino")
    command = [sys.executable, "-c", SCRIPT, bundle_path, device, what]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_child_forked_while_another_thread_runs_is_not_stuck(bundle_path, golden):
    from pfedge_runtime import Bundle
    from pfedge_runtime.engines import OnnxRuntimeEngine

    bundle = Bundle.open(bundle_path)
    engine, bank = OnnxRuntimeEngine(bundle.graph_path), bundle.bank()
    engine.run(golden["images"], bank)
    engine._turn.acquire()  # as another thread may hold it at the instant of the fork
    engine._running = 1
    engine.forked()
    assert engine.run(golden["images"], bank.drop({3})).logits.shape == (8, 9)
