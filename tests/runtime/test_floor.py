from __future__ import annotations

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfedge_runtime import Bundle, forget
from pfedge_runtime.device import DeviceState, FileFloor
from pfedge_runtime.device.floor import require_above
from pfedge_runtime.errors import StateError


@pytest.fixture
def old_state(bundle_path, device_state, tmp_path):
    """A copy of the device's state after one forget of two."""
    forget(bundle_path, ["3"])
    copy = shutil.copytree(device_state, tmp_path / "copy")
    forget(bundle_path, ["5"])
    return copy


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=6))
def test_it_only_rises(tmp_path_factory, numbers):
    floor = FileFloor(tmp_path_factory.mktemp("floor") / "in" / "floor")
    assert floor.read() is None
    for count, lines in enumerate(numbers, start=1):
        floor.raise_to("key", lines)
        assert floor.read() == ("key", max(numbers[:count]))
    assert [file.name for file in floor.path.parent.iterdir()] == ["floor"]


def test_it_belongs_to_one_key(tmp_path):
    floor = FileFloor(tmp_path / "floor")
    floor.raise_to("key", 4)
    with pytest.raises(StateError, match="is the floor of another device key"):
        floor.raise_to("other", 5)
    assert floor.read() == ("key", 4)


@pytest.mark.parametrize(
    "data",
    [b"", b"3", b"[]", b'{"key":"k"}', b'{"key":3,"lines":1}', b'{"key":"k","lines":true}', b'{"key":"k","lines":1.5}'],
)
def test_a_damaged_floor_is_neither_read_nor_replaced(tmp_path, data):
    floor = FileFloor(tmp_path / "floor")
    floor.path.write_bytes(data)
    for use in (floor.read, lambda: floor.raise_to("k", 9)):
        with pytest.raises(StateError, match="is damaged"):
            use()
    assert floor.path.read_bytes() == data


def test_what_a_killed_write_left_is_removed(tmp_path):
    (tmp_path / ".floor.abc.tmp").write_bytes(b"half")
    FileFloor(tmp_path / "floor").raise_to("key", 1)
    assert [file.name for file in tmp_path.iterdir()] == ["floor"]


@pytest.mark.parametrize(
    ("known", "key_id", "lines"), [(None, None, 0), (None, "key", 0), (("key", 3), "key", 3), (("key", 3), "key", 4)]
)
def test_a_state_at_or_above_its_floor_is_accepted(tmp_path, known, key_id, lines):
    require_above(known, key_id, lines, where=tmp_path)


@pytest.mark.parametrize(
    ("known", "key_id", "lines", "words"),
    [
        (None, "key", 1, "the floor of .* is missing"),
        (("key", 0), None, 0, "is gone"),
        (("key", 3), "other", 9, "is another device's than its floor's"),
        (("key", 3), "key", 2, "is an old copy: its ledger has 2 lines and had 3"),
    ],
)
def test_a_state_below_its_floor_is_refused(tmp_path, known, key_id, lines, words):
    with pytest.raises(StateError, match=words):
        require_above(known, key_id, lines, where=tmp_path)


def refused_everywhere(bundle_path, words):
    for use in (
        lambda: Bundle.open(bundle_path),
        lambda: forget(bundle_path, ["7"]),
        lambda: DeviceState.at().tombstones(),
    ):
        with pytest.raises(StateError, match=words):
            use()


def test_an_old_copy_of_the_state_put_back_is_refused(bundle_path, device_state, old_state):
    latest = device_state.rename(device_state.with_name("latest"))
    shutil.copytree(old_state, device_state)
    refused_everywhere(bundle_path, "is an old copy: its ledger has 2 lines and had 4")
    shutil.rmtree(device_state)
    latest.rename(device_state)
    assert 5 not in Bundle.open(bundle_path).bank().class_ids


def test_a_ledger_cut_off_at_its_end_is_refused(bundle_path, device_state, old_state):
    shutil.copy(old_state / "ledger.jsonl", device_state / "ledger.jsonl")
    refused_everywhere(bundle_path, "is an old copy")


def test_a_ledger_taken_away_is_refused(bundle_path, device_state, old_state):
    (device_state / "ledger.jsonl").unlink()
    refused_everywhere(bundle_path, "is an old copy: its ledger has 0 lines")


def test_a_state_taken_away_is_refused_and_no_new_one_made(bundle_path, device_state, old_state):
    shutil.rmtree(device_state)
    refused_everywhere(bundle_path, "is gone: its floor knows 4 lines")
    assert not (device_state / "device.pem").exists()


def test_another_devices_state_is_refused(bundle_path, device_state, old_state, new_device, tmp_path):
    other = new_device()
    with other.writing():
        pass
    shutil.rmtree(device_state)
    shutil.copytree(other.path, device_state)
    refused_everywhere(bundle_path, "is another device's than its floor's")


def test_a_floor_taken_away_is_refused(bundle_path, device_state, old_state):
    device_state.with_name("floor").unlink()
    refused_everywhere(bundle_path, "the floor of .* is missing")
