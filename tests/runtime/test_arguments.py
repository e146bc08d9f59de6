"""Wherever several texts or paths are taken, one is taken as one: `"10"` is class 10, never classes 1 and 0."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from pfedge_runtime import Bundle, Classifier, forget, plan_forget
from pfedge_runtime.arguments import as_paths, as_texts
from pfedge_runtime.bundle import class_text, find_class
from pfedge_runtime.errors import UnknownClassError, UsageError
from pfedge_runtime.receipts import fleet_status


def test_one_text_is_one():
    assert as_texts("10") == ("10",)
    assert as_texts(["1", "0"]) == ("1", "0")
    assert as_texts(text for text in "ab") == ("a", "b")
    assert as_texts(()) == ()


@pytest.mark.parametrize("value", [3, [3], b"10", [b"10"], None, ["1", None]])
def test_what_is_no_text_is_refused(value):
    with pytest.raises(UsageError, match="not a text"):
        as_texts(value)


@pytest.mark.parametrize("one", ["scans", Path("scans")])
def test_one_path_is_one(one):
    assert list(as_paths(one)) == [Path("scans")]
    assert list(as_paths([one, one])) == [Path("scans")] * 2


@pytest.mark.parametrize("value", [3, b"scans", None])
def test_what_is_no_path_is_refused(value):
    with pytest.raises(UsageError, match="not a path"):
        as_paths(value)


def test_paths_are_taken_one_by_one():
    def endless():
        while True:
            yield "scan.png"

    assert next(iter(as_paths(endless()))) == Path("scan.png")


def test_forgetting_10_does_not_forget_1_and_0(bundle_path):
    with pytest.raises(UnknownClassError, match="'10'"):
        forget(bundle_path, "10")
    with pytest.raises(UnknownClassError, match="'10'"):
        plan_forget(Bundle.open(bundle_path), "10")
    assert Bundle.open(bundle_path).bank().class_ids == tuple(range(10))
    forget(bundle_path, "3")
    assert Bundle.open(bundle_path).bank().class_ids == (0, 1, 2, 4, 5, 6, 7, 8, 9)


def test_one_source_is_one(bundle_path):
    with pytest.raises(UsageError) as of_text:
        plan_forget(Bundle.open(bundle_path), [], sources="clinic-7")
    with pytest.raises(UsageError) as of_list:
        plan_forget(Bundle.open(bundle_path), [], sources=["clinic-7"])
    assert str(of_text.value) == str(of_list.value)


def test_a_number_is_not_a_class(bundle_path):
    with pytest.raises(UsageError, match="write '3' in quotes"):
        forget(bundle_path, [3])


def test_one_file_is_one(bundle_path, golden, tmp_path):
    Image.fromarray(golden["images"][0]).save(tmp_path / "cell.png")
    classifier = Classifier.open(bundle_path)
    for one in (tmp_path / "cell.png", str(tmp_path / "cell.png")):
        assert [prediction.source for prediction in classifier.predict_files(one)] == [str(tmp_path / "cell.png")]
    assert classifier.predict(golden["images"][:1], sources="cell.png")[0].source == "cell.png"


def test_one_name_is_one():
    assert find_class("cat", "cat") == 0
    assert class_text("cat", 0) == "0"


def test_one_folder_of_receipts_is_one(tmp_path):
    from datetime import UTC, datetime

    today = datetime.now(UTC).date()
    assert fleet_status(tmp_path, (), today=today) == fleet_status([tmp_path], (), today=today)
    assert fleet_status(str(tmp_path), (), today=today) == fleet_status([tmp_path], (), today=today)


def test_one_folder_to_sweep_is_one(bundle_path, tmp_path):
    from pfedge_runtime.bank import RowKey
    from pfedge_runtime.device import DeviceState
    from pfedge_runtime.sweeping import Trace, sweep

    shutil.copytree(bundle_path, tmp_path / "usb" / "copy")
    trace = Trace.of(Bundle.open(bundle_path), [RowKey(3)])
    usb = tmp_path / "usb"
    found = [sweep(trace, folders, DeviceState.at(), dry_run=True) for folders in (usb, str(usb), [usb])]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 1
