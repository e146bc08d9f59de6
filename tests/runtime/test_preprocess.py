from __future__ import annotations

import pytest

from pfedge_runtime.errors import BundleError
from pfedge_runtime.inputs import AudioPreprocess, ImagePreprocess, preprocess_from_json, preprocess_to_json


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
