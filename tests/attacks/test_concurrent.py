"""Attack: four processes predict while a fifth forgets, 200 times.

Resisted: no prediction that began after `forget` returned has the class among its answers, and none fails.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import pytest

from pfedge_runtime import forget
from pfedge_runtime.device import DeviceState, FileFloor

PREDICTORS = 4
BUNDLES = 25
FORGETS = 8  # of each bundle: 200 rounds

PREDICTOR = """
import json, sys, time
from pathlib import Path
import numpy as np
from pfedge_runtime import Classifier
from pfedge_runtime.device.floor import FileFloor
from pfedge_runtime.device.floor import FileFloor
from pfedge_runtime.device.state import DeviceState
folder, number = Path(sys.argv[1]), sys.argv[2]
for path in sorted(folder.glob("bundle-??")):
    device = path.with_name(path.name.replace("bundle", "device"))
    classifier = Classifier.open(path, threads=1, state=DeviceState(device / "state", FileFloor(device / "floor")))
    with np.load(path / "selftest.npz") as archive:
        images = archive["images"][:1]
    seen = []
    path.with_name(f"{path.name}.ready-{number}").touch()
    while not path.with_name(f"{path.name}.done").exists():
        began = time.monotonic_ns()
        (prediction,) = classifier.predict(images)
        seen.append((began, prediction.coverage, prediction.epoch))
    path.with_name(f"{path.name}.seen-{number}").write_text(json.dumps(seen))
"""


@pytest.mark.slow
def test_no_prediction_that_began_after_forget_returned_has_the_class(bundle_path, tmp_path):
    folder = tmp_path / "many"
    for number in range(BUNDLES):
        shutil.copytree(bundle_path, folder / f"bundle-{number:02}")
    command = [sys.executable, "-c", PREDICTOR, folder]
    with_pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    predictors = [subprocess.Popen([*command, str(number)], **with_pipes) for number in range(PREDICTORS)]
    returned = []
    for path in sorted(folder.glob("bundle-??")):  # each is on a device of its own
        device = path.with_name(path.name.replace("bundle", "device"))
        state = DeviceState(device / "state", FileFloor(device / "floor"))
        while len(list(folder.glob(f"{path.name}.ready-*"))) < PREDICTORS:
            for one in predictors:
                assert not one.poll(), one.communicate()[1]
            time.sleep(0.01)
        rounds = {}
        for class_id in range(FORGETS):
            forget(path, [str(class_id)], state=state)
            rounds[class_id] = time.monotonic_ns()
            time.sleep(0.005)
        returned.append(rounds)
        path.with_name(f"{path.name}.done").touch()
    late = early = 0
    for one in predictors:
        _, errors = one.communicate(timeout=60)
        assert one.returncode == 0, errors
    for number, rounds in enumerate(returned):
        for file in folder.glob(f"bundle-{number:02}.seen-*"):
            for began, coverage, epoch in json.loads(file.read_text()):
                assert epoch == 10 - len(coverage)
                gone = {class_id for class_id, at in rounds.items() if began > at}
                assert not gone & set(coverage)
                late += bool(gone)
                early += not gone
    assert late > 100
    assert early > 0
