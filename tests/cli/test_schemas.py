"""What verbs print under --json is what the schemas in the package say."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from PIL import Image

from pfedge_runtime.signing import PrivateKey
from support.json_schema import FOLDER, KINDS, find_faults, load_schema, require_fits
from support.paths import ROOT


@pytest.fixture
def image(golden, tmp_path):
    path = tmp_path / "seven.png"
    Image.fromarray(golden["images"][0]).save(path)
    return path


def test_every_kind_that_is_printed_has_its_schema():
    source = "\n".join(path.read_text() for path in (ROOT / "pfedge" / "cli").rglob("*.py"))
    assert sorted(set(re.findall(r'print_json\(\s*"([\w-]+)"', source))) == sorted(KINDS)
    for kind in KINDS:
        schema = load_schema(kind)
        assert schema["properties"]["schema"] == {"const": f"pfedge-{kind}/1"}
        assert "schema" in schema["required"]
        assert find_faults({"schema": "another"}, schema)


def test_the_schemas_lie_in_the_package():
    from importlib.resources import files

    assert {path.name for path in files("pfedge").joinpath("schemas").iterdir()} >= {f"{kind}.json" for kind in KINDS}
    assert FOLDER.is_dir()


def test_the_device_says_what_the_schemas_say(cli, bundle_path, seal_bundle, image, tmp_path):
    PrivateKey.create(tmp_path / "boss.pem")
    shutil.copytree(bundle_path, tmp_path / "sealed")
    keys = seal_bundle(tmp_path / "sealed")
    require_fits(cli("keygen", "signer.pem", "--json").stdout, "keygen")
    require_fits(cli("adopt", "--bundle", "sealed", "--keys", keys, "--json").stdout, "adopt")
    require_fits(cli("adopt", "--authority", "boss.pub", "--json").stdout, "adopt")
    require_fits(cli("verify", bundle_path, "--selftest", "--json").stdout, "verify")
    require_fits(cli("inspect", "--selftest", "--json").stdout, "inspect")
    require_fits(cli("bench", bundle_path, "--seconds", 0, "--batch", 1, "--json").stdout, "bench")
    require_fits(cli("predict", image, "--json").stdout, "predict")
    require_fits(cli("forget", "-c", 3, "--dry-run", "--json").stdout, "forget")
    require_fits(cli("forget", "-c", 3, "--yes", "--request", "case-1", "--json").stdout, "forget")
    require_fits(cli("forget", "-c", 3, "--yes", "--if-present", "--json").stdout, "forget")
    swept = ("forget", "-c", 5, "--yes", "--json", "--sweep", tmp_path / "sealed")
    require_fits(cli(*swept, check=False).stdout, "forget")


def test_proof_says_what_the_schemas_say(cli, receipt, device_state):
    of_device = ("--key", "device.pub")
    history = ("--ledger", device_state / "ledger.jsonl")
    require_fits(cli("device", "--json").stdout, "device")
    require_fits(cli("receipt", "verify", receipt, *of_device, "--json").stdout, "receipt")
    require_fits(cli("receipt", "pdf", receipt, *of_device, "--json").stdout, "receipt-pdf")
    for kind, verb in (("receipt-list", ("receipt", "list")), ("ledger", ("ledger", "show"))):
        lines = cli(*verb, "--json").stdout.splitlines()
        assert [require_fits(line, kind)["schema"] for line in lines]
    require_fits(cli("ledger", "verify", "--json").stdout, "ledger-verify")
    require_fits(cli("ledger", "export", "audit", "--json").stdout, "ledger-export")
    (device_state.parent / "devices.txt").write_text(f"here {device_state / 'device.pub'}\n")
    fleet = ("fleet", "status", "audit", "--expect", device_state.parent / "devices.txt", "--json")
    assert require_fits(cli(*fleet).stdout, "fleet")["complete"]
    authorize = ("authorize", receipt, "--key", "boss.pem", "--device", "device.pub", "--json")
    require_fits(cli(*authorize).stdout, "authorize")
    require_fits(cli("restore", "-c", 3, "--authority", "restore.json", "--json").stdout, "restore")
    restored = cli("receipt", "verify", receipt, *of_device, *history, "--json", check=False)
    assert require_fits(restored.stdout, "receipt")["reversed"]


def test_each_unreadable_file_is_an_error_record(cli, bundle_path, image, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"x")
    outcome = cli("predict", "bad.png", image, "missing", "--json", check=False)
    assert outcome.returncode == 1
    assert outcome.stderr == ""
    records = [json.loads(line) for line in outcome.stdout.splitlines()]
    for line, record in zip(outcome.stdout.splitlines(), records, strict=True):
        require_fits(line, "error" if "error" in record else "predict")
    failed = {record["source"]: record["error"] for record in records if "error" in record}
    assert set(failed) == {"bad.png", "missing"}
    assert "bad.png is not an image" in failed["bad.png"]
    assert [record["source"] for record in records if "error" not in record] == [str(image)]


@pytest.mark.slow
def test_the_trainer_says_what_the_schemas_say(cli, tmp_path):
    train = ("train", "--dataset", "digits", "--model-name", "builtin:micro", "--guarantee", "exact", "--out", "run")
    require_fits(cli(*train, "--train-limit", 300, "--json").stdout, "train")
    require_fits(cli("eval", "run", "--k", 1, "--limit", 100, "--json").stdout, "eval")
    require_fits(cli("export", "run", "--json").stdout, "export")
    require_fits(cli("eval", "bundle", "--dataset", "digits", "--limit", 50, "--json").stdout, "eval-bundle")
