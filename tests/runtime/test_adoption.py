from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from pfedge_runtime import Bundle, Classifier, forget
from pfedge_runtime.bank import RowKey
from pfedge_runtime.device import DeviceState
from pfedge_runtime.errors import SealError, StorageError, TombstoneError, UsageError
from pfedge_runtime.forgetting import adopt, write_keys
from pfedge_runtime.forgetting.adoption import read_keys
from pfedge_runtime.receipts import Receipt, authorize, restore, trust
from pfedge_runtime.signing import PrivateKey
from support.paths import GOLDEN


@pytest.fixture
def keys(bundle_path, seal_bundle):
    """The keys of the golden bundle, which is sealed."""
    return seal_bundle(bundle_path)


def take(path, keys=None, **keywords):
    return adopt(Bundle.open(path, read_bank=False, **keywords), keys)


def model_of(path):
    return Bundle.open(path, read_bank=False).manifest.model_id


def key_file(path, class_id, source=""):
    return DeviceState.at().row_key_path(model_of(path), RowKey(class_id, source))


def change_keys(file, change):
    """Write a key file whose keys were changed."""
    value = json.loads(file.read_bytes())
    change(value["keys"])
    file.write_text(json.dumps(value))
    return file


def test_a_bundle_that_is_not_sealed_is_only_recorded(bundle_path):
    assert take(bundle_path) == ((), ())
    (line,) = DeviceState.at().ledger().entries
    assert (line.act, line.model_id, line.guarantee) == ("adopt", model_of(bundle_path), "shared")
    assert line.bank_before == line.bank_after == Bundle.open(bundle_path).bank().digest()
    assert DeviceState.at().floor.read() == (line.key, 1)
    assert not DeviceState.at().row_keys.exists()


def test_keys_for_a_bundle_that_is_not_sealed_are_an_error(bundle_path, tmp_path, device_state):
    with pytest.raises(UsageError, match="is not sealed: it needs no keys"):
        take(bundle_path, tmp_path / "keys")
    assert not device_state.exists()


@pytest.mark.parametrize("guarantee", ["", "isolated", "exact"])
def test_a_sealed_bundle_decides_as_it_did_once_its_keys_are_taken(tmp_path, seal_bundle, guarantee):
    path = Path(shutil.copytree(GOLDEN / guarantee / "bundle", tmp_path / "bundle"))
    keys = seal_bundle(path)
    with pytest.raises(SealError, match="this device has no key for it: pfedge adopt --keys"):
        Bundle.open(path)
    taken, refused = take(path, keys)
    assert ([row.class_id for row in taken], refused) == (list(range(10)), ())
    with np.load(GOLDEN / guarantee / "expected.npz") as archive:
        _, logits = Classifier.open(path).logits(archive["images"])
        assert np.allclose(logits, archive["logits"], rtol=1e-5, atol=1e-4)
    forget(path, ["3"])
    assert Bundle.open(path).bank().class_ids == (0, 1, 2, 4, 5, 6, 7, 8, 9)


def test_keys_are_kept_for_their_owner_alone_and_nowhere_else(bundle_path, keys, device_state):
    take(bundle_path, keys)
    secret = read_keys(keys, model_of(bundle_path))[RowKey(3)]
    file = key_file(bundle_path, 3)
    assert file.read_bytes() == secret
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]
    for other in device_state.rglob("*"):
        if other.is_file() and other != file:
            assert secret not in other.read_bytes()
            assert secret.hex().encode() not in other.read_bytes()


def test_what_was_taken_stands_in_the_ledger(bundle_path, keys):
    taken, _ = take(bundle_path, keys)
    assert DeviceState.at().ledger().entries[-1].rows == taken
    assert taken == Bundle.open(bundle_path).row_ids(map(RowKey, range(10)))


def test_adopting_again_changes_no_key(bundle_path, keys, device_state):
    def kept():
        return {path: path.read_bytes() for path in device_state.glob("keys/*/*")}

    take(bundle_path, keys)
    before = kept()
    assert len(before) == 10
    take(bundle_path, keys)
    take(bundle_path)
    assert kept() == before


def test_keys_of_some_rows_can_be_taken_by_themselves(bundle_path, keys, tmp_path):
    both = {class_id: shutil.copy(keys, tmp_path / f"{class_id}.json") for class_id in ("3", "rest")}
    change_keys(both["3"], lambda named: [named.pop(name) for name in list(named) if name != "3"])
    change_keys(both["rest"], lambda named: named.pop("3"))
    assert [row.class_id for row in take(bundle_path, both["3"])[0]] == [3]
    with pytest.raises(SealError, match="row 0 is sealed"):
        Bundle.open(bundle_path)
    take(bundle_path, both["rest"])
    assert len(Bundle.open(bundle_path).bank()) == 10


def test_keys_of_rows_by_source_are_read_back(tmp_path):
    keys = {RowKey(3, "a"): bytes(32), RowKey(3, "b@c"): b"\1" * 32, RowKey(4): b"\2" * 32}
    write_keys(tmp_path / "keys", "m", keys)
    assert read_keys(tmp_path / "keys", "m") == keys


def test_another_models_keys_are_refused(bundle_path, keys, device_state, tmp_path):
    write_keys(tmp_path / "other", "f" * 32, read_keys(keys, model_of(bundle_path)))
    with pytest.raises(SealError, match=f"has the keys of model {'f' * 32}, not of {model_of(bundle_path)}"):
        take(bundle_path, tmp_path / "other")
    assert not device_state.exists()


@pytest.mark.parametrize("name", ["0", "5", "9"])
def test_one_wrong_key_takes_nothing(bundle_path, keys, device_state, name):
    change_keys(keys, lambda named: named.update({name: "00" * 32}))
    with pytest.raises(SealError, match=f"row {name} does not open with this device's key"):
        take(bundle_path, keys)
    assert DeviceState.at().ledger().entries == ()
    assert not DeviceState.at().row_keys.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": "pfedge-keys/2"}, "has schema 'pfedge-keys/2'"),
        ({"keys": {"3": "00"}}, "a key has 32 bytes"),
        ({"keys": {"3": "no hex"}}, "is not a key file"),
        ({"keys": {"3": 3}}, "is not a key file"),
        ({"keys": {"x": "00" * 32}}, "is not a key file"),
        ({"keys": ["3"]}, "is not a key file"),
        ({"keys": None}, "is not a key file"),
        ({"model_id": None}, "has the keys of model None"),
    ],
)
def test_a_damaged_key_file_is_refused(bundle_path, keys, change, words):
    keys.write_text(json.dumps({**json.loads(keys.read_bytes()), **change}))
    with pytest.raises(SealError, match=words):
        take(bundle_path, keys)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff"])
def test_what_is_no_key_file_is_refused(bundle_path, keys, data):
    keys.write_bytes(data)
    with pytest.raises(SealError, match=r"is damaged|is not a key file"):
        take(bundle_path, keys)


def test_a_missing_key_file_is_refused(bundle_path, keys, tmp_path):
    with pytest.raises(SealError, match="cannot read"):
        take(bundle_path, tmp_path / "missing")


def test_a_key_file_is_its_owners_alone_and_is_never_replaced(keys):
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    before = keys.read_bytes()
    with pytest.raises(StorageError, match="File exists"):
        write_keys(keys, "m", {})
    assert keys.read_bytes() == before


def test_forgetting_destroys_the_key_even_for_who_holds_its_file_open(bundle_path, keys):
    take(bundle_path, keys)
    with key_file(bundle_path, 3).open("rb") as held:
        forget(bundle_path, ["3"])
        assert held.read() == bytes(32)
    assert not key_file(bundle_path, 3).exists()
    assert all(key_file(bundle_path, class_id).exists() for class_id in range(10) if class_id != 3)


def test_the_original_bundle_and_keys_do_not_bring_a_row_back(bundle_path, keys, tmp_path):
    original = Path(shutil.copytree(bundle_path, tmp_path / "original"))
    take(bundle_path, keys)
    forget(bundle_path, ["3"])
    taken, refused = take(original, keys)
    assert [row.class_id for row in taken] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert [row.describe() for row in refused] == ["class 3 (3)"]
    assert not key_file(bundle_path, 3).exists()
    with pytest.raises(TombstoneError, match="its row 3 was forgotten on this device"):
        Bundle.open(original)
    forget(original, ["3"])
    assert 3 not in Bundle.open(original).bank().class_ids


def test_a_device_without_the_key_file_cannot_open_an_old_copy_at_all(bundle_path, keys, tmp_path, new_device):
    original = Path(shutil.copytree(bundle_path, tmp_path / "original"))
    take(bundle_path, keys)
    forget(bundle_path, ["3"])
    with pytest.raises(SealError, match="this device has no key for it"):
        Bundle.open(original, state=new_device())


def test_keys_are_refused_for_rows_forgotten_before_any_key_was_taken(bundle_path, keys, tmp_path):
    original = Path(shutil.copytree(bundle_path, tmp_path / "original"))
    forget(bundle_path, ["3", "5"])
    assert [str(row) for row in take(original, keys)[1]] == ["3", "5"]
    assert not key_file(bundle_path, 3).exists()


def test_after_a_restoration_keys_are_taken_anew(bundle_path, keys, tmp_path):
    original = Path(shutil.copytree(bundle_path, tmp_path / "original"))
    authority = PrivateKey.create(tmp_path / "authority.pem")
    trust(DeviceState.at(), authority.public)
    take(bundle_path, keys)
    receipt = Receipt.read_unverified(Path(forget(bundle_path, ["3"]).receipt).read_bytes())
    restore(DeviceState.at(), authorize(receipt, authority))
    with pytest.raises(SealError, match="row 3 is sealed and this device has no key for it"):
        Bundle.open(original)
    taken, refused = take(original, keys)
    assert (len(taken), refused) == (10, ())
    assert len(Bundle.open(original).bank()) == 10


def test_adopting_again_mends_a_key_that_a_killed_adoption_cut_short(bundle_path, seal_bundle):
    keys = seal_bundle(bundle_path)
    bundle = Bundle.open(bundle_path, read_bank=False)
    cut_short = bundle.state.row_key_path(bundle.manifest.model_id, RowKey(3))
    cut_short.parent.mkdir(parents=True)
    cut_short.write_bytes(b"half")
    adopt(bundle, keys)
    assert len(Bundle.open(bundle_path).bank()) == 10


def test_keys_of_another_sealed_export_do_not_replace_those_that_are_there(bundle_path, tmp_path, seal_bundle):
    other = shutil.copytree(bundle_path, tmp_path / "other")
    keys, others = seal_bundle(bundle_path), seal_bundle(other)
    adopt(Bundle.open(bundle_path, read_bank=False), keys)
    with pytest.raises(SealError, match="has another key of row 0 of this model, of another sealed export"):
        adopt(Bundle.open(other, read_bank=False), others)
    assert len(Bundle.open(bundle_path).bank()) == 10
