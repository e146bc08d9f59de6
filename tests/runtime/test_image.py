from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pfedge_runtime.errors import BundleError, InputError
from pfedge_runtime.inputs import ImagePreprocess, preprocess_from_json, preprocess_to_json, read_image


@settings(max_examples=40)
@given(
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    shorter=st.none() | st.integers(16, 40),
    resample=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
)
def test_any_image_becomes_the_size_asked_for(height, width, shorter, resample):
    preprocess = ImagePreprocess(16, 12, resample=resample, shorter_side=shorter)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    result = preprocess(image)
    assert result.shape == (16, 12, 3)
    assert result.dtype == np.uint8
    assert preprocess_from_json(preprocess_to_json(preprocess)) == preprocess


def test_an_image_of_the_right_size_is_untouched():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.array_equal(ImagePreprocess(16, 16)(image), image)


def test_the_crop_is_the_centre():
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 10:30] = 255
    assert ImagePreprocess(20, 20, shorter_side=20)(image).min() == 255


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_other_arrays_are_refused(image):
    with pytest.raises(InputError, match="must be uint8"):
        ImagePreprocess(4, 4)(image)


@pytest.mark.parametrize(
    "value", [{"kind": "image", "height": 4}, {"kind": "image", "height": 4, "width": 4, "resample": "guess"}]
)
def test_unknown_preprocessing_is_refused(value):
    with pytest.raises(BundleError, match="unknown preprocessing"):
        preprocess_from_json(value)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 100, 100),
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("RGBA", (1, 2, 3, 0), (1, 2, 3)),
        ("1", 1, 255),
        ("I;16", 0x1234, 0x12),
    ],
)
def test_every_colour_mode_becomes_rgb(tmp_path, mode, value, expected):
    path = tmp_path / "image.png"
    Image.new(mode, (3, 2), value).save(path)
    result = read_image(path)
    assert result.shape == (2, 3, 3)
    assert (result == np.array(expected, np.uint8)).all()


def test_a_turned_photograph_is_turned_back(tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(path, exif=exif)
    assert read_image(path).shape == (8, 4, 3)


def test_bad_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no such file: .*missing\.png"):
        read_image(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match=r"text\.png is not an image"):
        read_image(tmp_path / "text.png")
    path = tmp_path / "cut.jpg"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"cannot read the image .*cut\.jpg"):
        read_image(path)
    with pytest.raises(InputError, match="cannot read the image"):
        read_image(tmp_path)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (20, 20)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match="exceeds limit"):
        read_image(tmp_path / "bomb.png")
