from __future__ import annotations

import shutil
import stat

import pytest

from pfedge_runtime import Bundle, forget
from pfedge_runtime.bank import RowKey
from pfedge_runtime.device import DeviceState, Entry, FileFloor
from pfedge_runtime.errors import KeyFileError, LedgerError, StorageError, TombstoneError, UsageError
from pfedge_runtime.files import exclusive


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def acts():
    return [entry.act for entry in DeviceState.at().ledger().entries]


@pytest.fixture
def old_bank(bundle_path, tmp_path):
    """A copy of the bank as it was before class 3 was forgotten."""
    copy = shutil.copy(bundle_path / "bank.safetensors", tmp_path / "old")
    forget(bundle_path, ["3"])
    return copy


def test_reading_makes_nothing(bundle_path, device_state):
    state = DeviceState.at()
    assert state.ledger().entries == ()
    assert state.tombstones().digests == {}
    assert state.stamp() is None
    assert state.read_row_keys("m", [RowKey(3)]) == {}
    Bundle.open(bundle_path)
    assert list(device_state.parent.iterdir()) == []
    with pytest.raises(KeyFileError, match="cannot read"):
        state.public_key()


def test_writing_makes_a_state_that_is_its_owners_alone(device_state):
    with DeviceState.at().writing() as writer:
        entry = writer.append(Entry(act="adopt"))
        writer.raise_floor()
    state = DeviceState.at()
    assert [mode(device_state / name) for name in ("", "device.pem", "ledger.jsonl")] == [0o700, 0o600, 0o600]
    assert state.ledger().entries == (entry,)
    assert state.public_key().id == entry.key
    assert state.floor.read() == (entry.key, 1)


def test_the_key_stays_the_same(device_state):
    keys = set()
    for _ in range(3):
        with DeviceState.at().writing() as writer:
            keys.add(writer.key.public.id)
    assert len(keys) == 1


def test_where_the_state_lies(monkeypatch, tmp_path):
    assert DeviceState.at() == DeviceState.at()
    monkeypatch.delenv("PFEDGE_FLOOR_FILE")
    floors = []
    for name in ("a", "b"):
        monkeypatch.setenv("PFEDGE_STATE_DIR", str(tmp_path / name))
        assert DeviceState.at().path == tmp_path / name
        floors.append(DeviceState.at().floor.path)
    assert floors[0] != floors[1]
    assert not any(floor.is_relative_to(tmp_path) for floor in floors)
    monkeypatch.delenv("PFEDGE_STATE_DIR")
    assert "pfedge" in DeviceState.at().path.parts


def test_a_line_of_another_process_is_seen():
    here, there = DeviceState.at(), DeviceState.at()
    for count in range(1, 4):
        with there.writing() as writer:
            writer.append(Entry(act="adopt"))
        assert len(here.ledger().entries) == count


def test_one_writer_at_a_time(device_state):
    with (
        DeviceState.at().writing(),
        pytest.raises(StorageError, match="another process"),
        DeviceState.at().writing(seconds=0.05),
    ):
        pytest.fail("two writers at once")


def test_a_torn_line_is_cut_off_by_the_next(bundle_path, device_state, old_bank):
    ledger = device_state / "ledger.jsonl"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole + b'{"about":{}')
    assert acts() == ["forget", "forgotten"]
    with DeviceState.at().writing() as writer:
        line = writer.append(Entry(act="adopt"))
    assert ledger.read_bytes() == whole + line.line() + b"\n"
    DeviceState.at().ledger().verify()


@pytest.mark.parametrize("name", ["device.pem", "device.pub"])
def test_a_ledger_without_its_key_is_never_continued_by_another(bundle_path, device_state, old_bank, name):
    (device_state / name).rename(device_state.with_name(name))
    with pytest.raises((KeyFileError, LedgerError), match=r"put .* back"):
        forget(bundle_path, ["5"])
    device_state.with_name(name).rename(device_state / name)
    forget(bundle_path, ["5"])


def test_a_first_start_that_was_killed_begins_anew(device_state):
    device_state.mkdir()
    (device_state / "device.pem").write_bytes(b"half a key")
    with DeviceState.at().writing() as writer:
        assert DeviceState.at().public_key().id == writer.key.public.id
    assert DeviceState.at().floor.read() == (DeviceState.at().public_key().id, 0)


def test_an_edited_ledger_stops_the_device(bundle_path, device_state, old_bank):
    ledger = device_state / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b'"act":"forget"', b'"act":"refuse"'))
    for use in (lambda: Bundle.open(bundle_path), lambda: forget(bundle_path, ["5"])):
        with pytest.raises(LedgerError, match="line 2 of the ledger does not follow"):
            use()


def test_a_refusal_is_recorded_once_for_each_bank_and_forget(bundle_path, old_bank):
    shutil.copy(old_bank, bundle_path / "bank.safetensors")
    for _ in range(3):
        with pytest.raises(TombstoneError):
            Bundle.open(bundle_path)
    assert acts() == ["forget", "forgotten", "refuse"]
    whole = Bundle.open(bundle_path, read_bank=False).stored_bank()
    (bundle_path / "bank.safetensors").write_bytes(whole.drop({5}).to_bytes())
    for _ in range(2):
        with pytest.raises(TombstoneError):
            Bundle.open(bundle_path)
    assert acts() == ["forget", "forgotten", "refuse", "refuse"]
    first, second = (entry for entry in DeviceState.at().ledger().entries if entry.act == "refuse")
    assert first.bank_before == whole.digest() != second.bank_before
    assert [str(row) for row in first.rows] == ["3"]
    assert first.request == DeviceState.at().ledger().entries[0].request


def test_who_cannot_record_a_refusal_refuses_all_the_same(bundle_path, device_state, old_bank):
    shutil.copy(old_bank, bundle_path / "bank.safetensors")
    with exclusive(device_state), pytest.raises(TombstoneError, match="its row 3 was forgotten"):
        Bundle.open(bundle_path)
    assert acts() == ["forget", "forgotten"]


def test_keys_of_rows_are_told_apart(device_state):
    state = DeviceState.at()
    rows = [RowKey(3), RowKey(3, "a"), RowKey(3, "b"), RowKey(33)]
    paths = {state.row_key_path("m", row) for row in rows} | {state.row_key_path("n", RowKey(3))}
    assert len(paths) == 5
    path = state.row_key_path("m", RowKey(3, "a"))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"key")
    assert state.read_row_keys("m", rows) == {RowKey(3, "a"): b"key"}


@pytest.mark.parametrize("name", ["PFEDGE_STATE_DIR", "PFEDGE_FLOOR_FILE"])
def test_a_relative_place_is_refused(monkeypatch, name):
    monkeypatch.setenv(name, "here")
    with pytest.raises(UsageError, match=f"{name} must be an absolute path"):
        DeviceState.at()


@pytest.fixture
def homeless(monkeypatch):
    """A user without HOME and without a line in /etc/passwd, as in many a container."""
    pwd = pytest.importorskip("pwd")

    def unknown(uid):
        raise KeyError(uid)

    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "PFEDGE_STATE_DIR", "PFEDGE_FLOOR_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.parametrize("given", [[], ["PFEDGE_STATE_DIR"], ["PFEDGE_FLOOR_FILE"]])
def test_a_user_without_a_home_is_told_what_to_set(homeless, monkeypatch, tmp_path, given):
    for name in given:
        monkeypatch.setenv(name, str(tmp_path / name))
    with pytest.raises(UsageError, match=r"no home folder.*set PFEDGE_STATE_DIR and PFEDGE_FLOOR_FILE"):
        DeviceState.at()


def test_a_user_without_a_home_can_name_both_places(homeless, monkeypatch, tmp_path):
    monkeypatch.setenv("PFEDGE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PFEDGE_FLOOR_FILE", str(tmp_path / "floor"))
    assert DeviceState.at() == DeviceState(tmp_path / "state", FileFloor(tmp_path / "floor"))
