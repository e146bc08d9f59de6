from __future__ import annotations

import pytest

from pfedge_runtime.errors import BundleError, InputError
from pfedge_runtime.inputs import AudioPreprocess, ImagePreprocess, find_files, preprocess_from_json, preprocess_to_json


@pytest.mark.parametrize(
    "preprocess",
    [ImagePreprocess(14, 16, resample="bicubic", shorter_side=20), AudioPreprocess(100, 64, 8000, -3.0, 2.0)],
)
def test_a_manifest_brings_back_what_was_put_in(preprocess):
    assert preprocess_from_json(preprocess_to_json(preprocess)) == preprocess


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "video", "frames": 3},
        {"frames": 3, "mels": 4},
        {"kind": "audio", "frames": 3},
        {"kind": "audio", "frames": 3, "mels": 4, "pitch": 5},
        {"kind": "audio", "frames": 3, "mels": 4, "std": 0.0},
        {"kind": "image", "height": 4, "width": 4, "resample": "guess"},
    ],
)
def test_what_this_version_does_not_know_is_refused(value):
    with pytest.raises(BundleError, match="unknown preprocessing"):
        preprocess_from_json(value)


def test_files_are_found_below_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/2.png", "1.JPG", "notes.txt", "a/3.ogg"):
        (tmp_path / name).touch()
    assert [path.name for path in find_files(tmp_path, ImagePreprocess.suffixes)] == ["1.JPG", "2.png"]
    assert [path.name for path in find_files(tmp_path, AudioPreprocess.suffixes)] == ["3.ogg"]
    with pytest.raises(InputError, match="no such file or folder"):
        find_files(tmp_path / "b", ImagePreprocess.suffixes)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"nothing to read below .*\.flac \.ogg \.wav"):
        find_files(tmp_path / "empty", AudioPreprocess.suffixes)
