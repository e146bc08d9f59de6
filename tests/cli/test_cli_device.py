"""The verbs of a device's memory as a user meets them, and what export signs and seals for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pfedge_runtime import Bundle, forget
from pfedge_runtime.device import DeviceState
from pfedge_runtime.receipts import Receipt, trust
from pfedge_runtime.signing import PrivateKey, PublicKey


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


@pytest.fixture(scope="module")
def exported(tiny_run, tmp_path_factory):
    """A bundle that export signed and sealed, beside it `bundle.keys.json` and the signer's `signer.pub`."""
    from pfedge.exporting import ExportSettings, export_run

    folder = tmp_path_factory.mktemp("export")
    signer = PrivateKey.create(folder / "signer.pem")
    settings = ExportSettings(out=folder / "bundle", signer=signer, keys_out=folder / "bundle.keys.json")
    return export_run(tiny_run, settings)[0].path


def test_keygen_makes_a_pair_and_replaces_none(cli, fails, tmp_path):
    said = cli("keygen", "signer.pem").stdout
    key = PrivateKey.load(tmp_path / "signer.pem").public
    assert key.id in said
    assert PublicKey.load(tmp_path / "signer.pub") == key
    assert "signer.pub exists" in fails("keygen", "signer.pem")
    assert PrivateKey.load(tmp_path / "signer.pem").public == key


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
    assert result == {"key": key.id, "state": str(device_state), "lines": 1, "floor": 1}
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


def test_a_ledger_is_shown_and_verified(cli, receipt, device_state):
    lines = cli("ledger", "show").stdout.splitlines()
    assert [line.split()[2] for line in lines[:-1]] == ["trust", "forget", "forgotten"]
    assert "class 3 (3)" in lines[1]
    assert lines[-1] == "3 lines"
    shown = [json.loads(line) for line in cli("ledger", "show", "--json").stdout.splitlines()]
    assert [line["request"] for line in shown] == ["", "case-1", "case-1"]
    assert f"3 lines, head {DeviceState.at().ledger().head}" in cli("ledger", "verify").stdout


def test_an_edited_ledger_is_shown_to_nobody(fails, receipt, device_state):
    ledger = device_state / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b"case-1", b"case-2"))
    for arguments in (("ledger", "show"), ("ledger", "verify"), ("ledger", "export", "audit"), ("device",)):
        assert "does not follow the one before" in fails(*arguments)


def test_an_export_holds_what_an_auditor_needs_and_no_secret(cli, fails, receipt, device_state, tmp_path):
    secret = (device_state / "device.pem").read_bytes()
    cli("ledger", "export", "audit")
    files = sorted(
        str(path.relative_to(tmp_path / "audit")) for path in (tmp_path / "audit").rglob("*") if path.is_file()
    )
    assert files == ["device.pub", "ledger.jsonl", "receipts/case-1.json"]
    assert all(secret not in (tmp_path / "audit" / file).read_bytes() for file in files)
    nowhere = {"PFEDGE_STATE_DIR": str(tmp_path / "none"), "PFEDGE_FLOOR_FILE": str(tmp_path / "floor")}
    cli("ledger", "verify", "audit/ledger.jsonl", "--key", "audit/device.pub", env=nowhere)
    cli("receipt", "verify", "audit/receipts/case-1.json", "--key", "audit/device.pub", env=nowhere)
    assert not (tmp_path / "none").exists()
    assert "is of another device" in fails("ledger", "verify", "audit/ledger.jsonl", "--key", "boss.pub")
    assert "needs --key" in fails("ledger", "verify", "audit/ledger.jsonl", code=2)
    assert "not empty" in fails("ledger", "export", "audit")


def test_a_device_without_ledger_exports_none(fails, tmp_path):
    assert "this device has no ledger yet" in fails("ledger", "export", "audit")
    assert not (tmp_path / "audit").exists()


def test_receipts_are_listed_and_made_again_where_one_is_missing(cli, receipt):
    data = receipt.read_bytes()
    assert str(receipt) in cli("receipt", "list").stdout
    receipt.unlink()
    assert "class 3 (3)" in cli("receipt", "list").stdout
    assert receipt.read_bytes() == data


def test_a_receipt_is_verified_in_plain_words(cli, fails, receipt, tmp_path):
    proved, not_proved = cli("receipt", "verify", receipt, "--key", "device.pub").stdout.split("Not proved:")
    assert "it forgot class 3 (3)" in proved
    assert "copies of the bundle on other devices" in not_proved
    result = json.loads(cli("receipt", "verify", receipt, "--key", "device.pub", "--json").stdout)
    assert (result["request"], result["rows"][0]["class"]) == ("case-1", 3)
    assert "not signed by a key given for it" in fails("receipt", "verify", receipt, "--key", "boss.pub")
    assert "cannot read" in fails("receipt", "verify", "missing", "--key", "device.pub")


def test_a_receipt_is_compared_with_a_bundle(cli, fails, receipt, bundle_path):
    compare = ("receipt", "verify", receipt, "--key", "device.pub", "--bundle")
    assert "its bank is the one of the receipt" in cli(*compare, bundle_path).stdout
    assert "has class 3 (3), which this receipt says was forgotten" in fails(*compare, "original")
    forget(bundle_path, ["5"])
    assert "its bank has changed since" in cli(*compare, bundle_path).stdout


def test_only_the_authority_can_undo_a_forget(cli, fails, receipt, tmp_path):
    restore = ("restore", "--class", "3", "--authority", "restore.json")
    PrivateKey.create(tmp_path / "stranger.pem")
    statement = ("authorize", receipt, "--device", "device.pub", "--key")
    cli(*statement, "stranger.pem", "--out", "stranger.json")
    assert "not signed by a key given for it" in fails(*restore[:-1], "stranger.json")
    assert "exists and is not empty" in fails(*statement, "boss.pem", "--out", "boss.pem")
    assert "class 3 (3) again" in cli("authorize", receipt, "--key", "boss.pem", "--device", "device.pub").stdout
    assert "concerns class 3 (3), not class 5" in fails(
        "restore", "--class", "5", "--authority", "restore.json", code=2
    )
    assert "its row 3 was forgotten" in fails("verify", "original")
    assert "request case-1 is undone: class 3 (3)" in cli(*restore).stdout
    assert "10 classes" in cli("verify", "original").stdout
    assert "has served already" in fails(*restore, code=2)


def test_only_a_receipt_of_that_device_is_authorised(fails, receipt, tmp_path):
    said = fails("authorize", receipt, "--key", "boss.pem", "--device", "boss.pub")
    assert "not signed by a key given for it" in said
    assert not (tmp_path / "restore.json").exists()


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
