"""The verbs about proof as a user meets them: keys, ledgers, receipts, restorations."""

from __future__ import annotations

import json

from pfedge_runtime import forget
from pfedge_runtime.device import DeviceState
from pfedge_runtime.signing import PrivateKey, PublicKey


def test_keygen_makes_a_pair_and_replaces_none(cli, fails, tmp_path):
    said = cli("keygen", "signer.pem").stdout
    key = PrivateKey.load(tmp_path / "signer.pem").public
    assert key.id in said
    assert PublicKey.load(tmp_path / "signer.pub") == key
    assert "signer.pub exists" in fails("keygen", "signer.pem")
    assert PrivateKey.load(tmp_path / "signer.pem").public == key


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
    verified, stated = proved.split("Stated by the device:")
    assert verified.startswith("Verified:")
    assert "it forgot class 3 (3)" in stated
    assert "that it still holds" in not_proved
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


def test_a_forget_that_was_undone_is_reversed_in_the_eyes_of_its_ledger(cli, receipt, device_state, tmp_path):
    verify = ("receipt", "verify", receipt, "--key", "device.pub", "--ledger", device_state / "ledger.jsonl")
    standing = cli(*verify, "--bundle", "bundle").stdout
    assert "3 lines" in standing
    assert "it is not undone there" in standing
    assert "bundle, trained on " in standing
    cli("authorize", receipt, "--key", "boss.pem", "--device", "device.pub")
    cli("restore", "--class", "3", "--authority", "restore.json")
    time = DeviceState.at().ledger().entries[-1].time
    reversed_ = cli(*verify, check=False)
    assert reversed_.returncode == 3
    assert reversed_.stdout.startswith(f"REVERSED on {time}: an authority allowed class 3 (3) again")
    assert json.loads(cli(*verify, "--json", check=False).stdout)["reversed"] == time
    assert "has class 3 (3) again" in cli(*verify, "--bundle", "original", check=False).stdout
    cli("receipt", "pdf", *verify[2:])
    assert f"REVERSED on {time}".encode() in (tmp_path / "receipt.pdf").read_bytes()


def test_a_ledger_that_is_not_the_receipts_decides_nothing(fails, receipt, device_state, tmp_path):
    lines = (device_state / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "old.jsonl").write_bytes(b"".join(lines[:-1]))
    said = fails("receipt", "verify", receipt, "--key", "device.pub", "--ledger", "old.jsonl")
    assert "line 3, which receipt case-1 names, does not stand in it" in said
