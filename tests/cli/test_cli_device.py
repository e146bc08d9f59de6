"""The verbs that use a bundle on a device, as a user meets them, and what export signs and seals for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pfedge_runtime import Bundle
from pfedge_runtime.device import DeviceState
from pfedge_runtime.receipts import Receipt
from pfedge_runtime.signing import PrivateKey, PublicKey


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    """A bundle that export signed and sealed, beside it `bundle.keys.json` and the signer's `signer.pub`."""
    from pfedge.exporting import ExportSettings, export_run

    folder = tmp_path_factory.mktemp("export")
    signer = PrivateKey.create(folder / "signer.pem")
    settings = ExportSettings(out=folder / "bundle", signer=signer, keys_out=folder / "bundle.keys.json")
    return export_run(tiny_run, settings)[0].path


def test_adopt_takes_keys_and_says_so(cli, fails, bundle_path, seal_bundle):
    keys = seal_bundle(bundle_path)
    assert "row 0 is sealed and this device has no key" in fails("verify", bundle_path)
    said = cli("adopt", "--keys", keys).stdout
    assert "adopted" in said
    assert "10 of 10 taken" in said
    result = json.loads(cli("verify", bundle_path, "--json").stdout)
    assert (result["sealed"], result["coverage"]) == (True, list(range(10)))


def test_adopt_refuses_keys_of_forgotten_rows(cli, bundle_path, seal_bundle, tmp_path):
    keys = seal_bundle(bundle_path)
    shutil.copytree(bundle_path, tmp_path / "original")
    cli("adopt", "--keys", keys)
    cli("forget", "--class", "3", "--yes")
    said = cli("adopt", "--bundle", "original", "--keys", keys).stdout
    assert "9 of 10 taken" in said
    assert "refused    the key of class 3 (3): it was forgotten on this device" in said


def test_adopt_names_an_authority_once_and_not_after_a_forget(cli, fails, bundle_path, tmp_path):
    key = PrivateKey.create(tmp_path / "boss.pem").public
    assert "authority  boss.pub" in cli("adopt", "--authority", "boss.pub").stdout
    assert DeviceState.at().ledger().authority() == key
    PrivateKey.create(tmp_path / "other.pem")
    assert "has its authority already" in fails("adopt", "--authority", "other.pub")


def test_device_shows_its_key_and_floor_once_there_is_one(cli, fails, bundle_path, device_state, tmp_path):
    assert "this device has no state yet" in fails("device")
    assert not device_state.exists()
    cli("adopt")
    result = json.loads(cli("device", "--json", "--public-key", "device.pub").stdout)
    key = PublicKey.load(tmp_path / "device.pub")
    assert result == {
        "schema": "pfedge-device/1",
        "key": key.id,
        "state": str(device_state),
        "lines": 1,
        "floor": 1,
    }
    assert key.id in cli("device").stdout


def test_verify_says_what_it_checked_and_names_the_first_that_is_wrong(cli, fails, bundle_path):
    said = cli("verify", bundle_path, "--selftest").stdout
    for part in ("match their digests", "not asked for", "10 classes", "none of them is forbidden", "self-test"):
        assert part in said
    (bundle_path / "selftest.npz").write_bytes(b"other")
    assert "selftest.npz is damaged" in fails("verify", bundle_path)


def test_verify_refuses_a_forgotten_row(cli, fails, bundle_path, receipt):
    said = fails("verify", "original")
    assert "its row 3 was forgotten on this device" in said
    assert "receipt case-1" in said
    assert json.loads(cli("verify", bundle_path, "--json").stdout)["coverage"] == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_verify_wants_the_signature_of_the_key_given(cli, fails, bundle_path, tmp_path):
    signer, _ = (PrivateKey.create(tmp_path / f"{name}.pem") for name in ("signer", "stranger"))
    assert "is not signed" in fails("verify", bundle_path, "--key", "signer.pub")
    Bundle.open(bundle_path).sign(signer)
    assert (
        json.loads(cli("verify", bundle_path, "--key", "signer.pub", "--json").stdout)["signed_by"] == signer.public.id
    )
    assert "is not signed by a key given for it" in fails("verify", bundle_path, "--key", "stranger.pub")
    assert "is not signed by a key" in fails(
        "verify", bundle_path, env={"PFEDGE_TRUSTED_KEYS": str(tmp_path / "stranger.pub")}
    )


def test_a_signature_outlives_forgetting(cli, bundle_path, tmp_path):
    signer = PrivateKey.create(tmp_path / "signer.pem")
    Bundle.open(bundle_path).sign(signer)
    env = {"PFEDGE_TRUSTED_KEYS": str(tmp_path)}
    cli("forget", "--class", "3", "--yes", env=env)
    assert signer.public.id in cli("verify", bundle_path, env=env).stdout


def test_what_export_signs_and_seals_is_verified_adopted_and_forgotten(cli, fails, exported, tmp_path):
    bundle = Path(shutil.copytree(exported, tmp_path / "bundle"))
    signer = exported.with_name("signer.pub")
    assert "row 0 is sealed" in fails("verify", bundle, "--key", signer)
    cli("adopt", "--keys", exported.with_name("bundle.keys.json"))
    result = json.loads(cli("verify", bundle, "--key", signer, "--selftest", "--json").stdout)
    assert (result["signed_by"], result["sealed"], result["coverage"]) == (PublicKey.load(signer).id, True, [0, 1, 3])
    assert result["selftest"]["passed"]
    forgotten = json.loads(cli("forget", "--class", "1", "--yes", "--json").stdout)
    receipt = Receipt.verify(Path(forgotten["receipt"]).read_bytes(), [DeviceState.at().public_key()])
    assert [row.class_id for row in receipt.rows] == [1]
    assert json.loads(cli("verify", bundle, "--key", signer, "--json").stdout)["coverage"] == [0, 3]


def test_export_replaces_no_key_file(exported, tiny_run, tmp_path):
    from pfedge.exporting import ExportSettings, export_run
    from pfedge_runtime.errors import StorageError

    keys = exported.with_name("bundle.keys.json")
    before = keys.read_bytes()
    with pytest.raises(StorageError, match="exists"):
        export_run(tiny_run, ExportSettings(out=tmp_path / "bundle", keys_out=keys))
    assert keys.read_bytes() == before
    assert not (tmp_path / "bundle").exists()


def test_adopt_with_an_authority_that_may_not_be_named_any_more_records_nothing(cli, fails, bundle_path, tmp_path):
    PrivateKey.create(tmp_path / "late.pem")
    cli("forget", "--class", "3", "--yes")
    before = DeviceState.at().ledger()
    assert "this device has forgotten rows already" in fails("adopt", "--authority", "late.pub")
    assert DeviceState.at().ledger() == before


def test_a_user_without_a_home_gets_one_line_or_what_was_asked_for(bundle_path, tmp_path):
    """A container often runs under a number that no file knows."""
    stranger = ["unshare", "--user", "--map-user=12345", "env", "-u", "HOME"]
    if shutil.which("unshare") is None or subprocess.run([*stranger, "true"], check=False).returncode:
        pytest.skip("needs unshare, and the right to use it")
    command = [*stranger, sys.executable, "-m", "pfedge", "forget", "--class", "3", "--bundle", bundle_path, "--yes"]
    places = {name: os.environ[name] for name in ("PFEDGE_STATE_DIR", "PFEDGE_FLOOR_FILE")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PFEDGE", "XDG"))}
    refused = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        "error: this user has no home folder for what the device remembers: "
        "set PFEDGE_STATE_DIR and PFEDGE_FLOOR_FILE\n"
    )
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**environment, **places, "PFEDGE_QUIET": "1"}
    )
    assert (done.returncode, done.stderr) == (0, "")
