"""What tests of the command line share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pfedge_runtime import forget
from pfedge_runtime.device import DeviceState
from pfedge_runtime.receipts import trust
from pfedge_runtime.signing import PrivateKey


@pytest.fixture
def fails(cli):
    """Run `pfedge`, which must fail with this code, and return its one line."""

    def run(*arguments, code=1, **keywords):
        outcome = cli(*arguments, check=False, **keywords)
        assert outcome.returncode == code, outcome.stdout
        assert outcome.stderr.count("\n") == 1, outcome.stderr
        assert outcome.stderr.startswith("error: ")
        return outcome.stderr

    return run


@pytest.fixture
def receipt(bundle_path, tmp_path):
    """The receipt of class 3, forgotten on a device whose public key is `device.pub` and whose authority `boss.pem`."""
    trust(DeviceState.at(), PrivateKey.create(tmp_path / "boss.pem").public)
    shutil.copytree(bundle_path, tmp_path / "original")
    path = forget(bundle_path, ["3"], request="case-1").receipt
    shutil.copy(DeviceState.at().path / "device.pub", tmp_path / "device.pub")
    return Path(path)
