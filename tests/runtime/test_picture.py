"""Ordinary images: each pixel type is converted by the rule of docs/pixels.md, or refused by name."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pfedge_runtime.errors import InputError
from pfedge_runtime.inputs import allow_pixels, read_frames, read_image
from support.tiff import write_tiff

WHITE_IS_ZERO = {262: 0}
NOISE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def grey(path, frame=None):
    image = read_image(path, frame=frame)
    assert (image == image[:, :, :1]).all()
    return image[0, :, 0].tolist()


@settings(deadline=None)  # files are written
@given(
    values=st.lists(st.integers(0, 65535), min_size=1, max_size=20),
    kind=st.sampled_from([("<", False), ("<", True), (">", False)]),
)
def test_sixteen_bits_of_grey_keep_their_upper_eight(tmp_path_factory, values, kind):
    order, inverted = kind
    pixels = np.array([values], dtype=np.uint16)
    tags = WHITE_IS_ZERO if inverted else {}
    path = write_tiff(tmp_path_factory.mktemp("t") / "a.tif", {"pixels": pixels, **tags}, order=order)
    upper = [value >> 8 for value in values]
    assert grey(path) == [255 - value if inverted else value for value in upper]


def test_every_depth_of_grey_is_spread_over_the_whole_range(tmp_path):
    eight = write_tiff(tmp_path / "8.tif", {"pixels": np.array([[0, 100, 255]], np.uint8)})
    assert grey(eight) == [0, 100, 255]
    inverted = write_tiff(tmp_path / "i.tif", {"pixels": np.array([[0, 100, 255]], np.uint8), **WHITE_IS_ZERO})
    assert grey(inverted) == [255, 155, 0]
    twelve = {"pixels": np.zeros((1, 2), np.uint16), "data": bytes([0xFF, 0xF8, 0x00]), 258: 12}  # 0xFFF, 0x800
    assert grey(write_tiff(tmp_path / "12.tif", twelve)) == [255, 128]
    four = {"pixels": np.zeros((1, 2), np.uint8), "data": bytes([0xF7]), 258: 4}
    assert grey(write_tiff(tmp_path / "4.tif", four)) == [255, 119]
    one = {"pixels": np.zeros((1, 8), np.uint8), "data": bytes([0b10100000]), 258: 1}
    assert grey(write_tiff(tmp_path / "1.tif", one)) == [255, 0, 255, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_of_every_format_are_the_same(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.array([[0, 0x1234, 0xFFFF]], np.uint16)).save(path)
    assert grey(path) == [0, 0x12, 255]


def test_sixteen_bits_a_colour_keep_their_upper_eight(tmp_path):
    wide = NOISE.astype(np.uint16) << 8 | 0x7F
    assert np.array_equal(read_image(write_tiff(tmp_path / "a.tif", {"pixels": wide})), NOISE)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    assert np.array_equal(read_image(write_png(tmp_path / "a.png", 7, 5, depth=16, colour=2, rows=rows)), NOISE)


def write_png(path, width, height, *, depth, colour, rows):
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.int16, np.int32, np.uint32])
def test_samples_without_a_stated_range_are_refused(tmp_path, dtype):
    path = write_tiff(tmp_path / "a.tif", {"pixels": np.ones((4, 4), dtype)})
    with pytest.raises(InputError, match=r"a\.tif: its samples are (floating|signed|32-bit|of a kind)") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_colours_are_what_the_plain_formulas_say(tmp_path):
    Image.new("CMYK", (2, 2), (0, 255, 0, 51)).save(tmp_path / "cmyk.tif")
    assert read_image(tmp_path / "cmyk.tif")[0, 0].tolist() == [204, 0, 204]
    Image.fromarray(NOISE).convert("YCbCr").save(tmp_path / "ycbcr.jpg", quality=100)
    assert read_image(tmp_path / "ycbcr.jpg").shape == NOISE.shape
    Image.new("LAB", (2, 2), (128, 0, 0)).save(tmp_path / "lab.tif")
    with pytest.raises(InputError, match=r"lab\.tif: its PhotometricInterpretation 8 is not supported"):
        read_image(tmp_path / "lab.tif")


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_alpha_is_dropped_and_not_blended(tmp_path, mode):
    picture = Image.fromarray(NOISE).convert("RGBA")
    picture.putalpha(7)
    picture = picture.convert(mode) if mode != "P" else Image.fromarray(NOISE).quantize(16)
    extra = {"transparency": 3} if mode == "P" else {}
    picture.save(tmp_path / "a.png", **extra)
    wanted = picture.convert("RGB") if mode == "P" else Image.fromarray(NOISE).convert("L" if mode == "LA" else "RGB")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.asarray(wanted.convert("RGB")))


@pytest.mark.parametrize(
    ("samples", "tags", "colours"),
    [(5, {262: 2}, 3), (2, {}, 1), (7, {262: 1}, 1), (4, {262: 2, 338: 0}, 3), (4, {262: 2}, 3)],
)
def test_channels_that_are_neither_colour_nor_alpha_are_refused(tmp_path, samples, tags, colours):
    path = write_tiff(tmp_path / "a.tif", {"pixels": np.zeros((4, 4, samples), np.uint8), **tags})
    with pytest.raises(
        InputError, match=rf"(it has {samples} channels, of which {colours} are colours|its samples are of a kind)"
    ):
        read_image(path)


def test_a_tiff_with_alpha_is_read(tmp_path):
    pixels = np.concatenate([NOISE, np.full((5, 7, 1), 9, np.uint8)], axis=2)
    assert np.array_equal(read_image(write_tiff(tmp_path / "a.tif", {"pixels": pixels, 338: 2})), NOISE)


def test_a_format_without_a_rule_is_refused(tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "a.ico", sizes=[(5, 5)])
    with pytest.raises(InputError, match=r"a\.ico is not an image that can be read"):
        read_image(tmp_path / "a.ico")
    (tmp_path / "a.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(InputError, match="is not an image"):
        read_image(tmp_path / "a.eps")


# --- frames and pages -------------------------------------------------------------------------------------------------


def flat(value):
    return Image.new("L", (3, 2), value)


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png"])
def test_the_first_of_several_frames_is_never_taken_silently(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    frames = [flat(value).convert("RGB") for value in (0, 128, 255)]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    with pytest.raises(InputError, match=rf"a\.{suffix} has 3 frames: predict with --frame N \(1 to 3\)"):
        read_image(path)
    assert [read_image(path, frame=frame)[0, 0, 0] for frame in (1, 2, 3)] == [0, 128, 255]
    assert [frame[0, 0, 0] for frame in read_frames(path)] == [0, 128, 255]
    with pytest.raises(InputError, match="has no frame 4: it has 3"):
        read_image(path, frame=4)


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png", "jpg", "bmp"])
def test_an_only_frame_is_frame_one(tmp_path, suffix):
    flat(255).save(tmp_path / f"a.{suffix}")
    assert grey(tmp_path / f"a.{suffix}", frame=1) == grey(tmp_path / f"a.{suffix}")
    assert len(list(read_frames(tmp_path / f"a.{suffix}"))) == 1


def test_smaller_copies_and_masks_are_no_pages(tmp_path):
    page, copy = np.full((4, 4), 200, np.uint8), np.full((2, 2), 9, np.uint8)
    pyramid = write_tiff(
        tmp_path / "p.tif", {"pixels": page, 254: 0}, {"pixels": copy, 254: 1}, {"pixels": page, 254: 4}
    )
    assert read_image(pyramid).shape == (4, 4, 3)
    thumbnail_first = write_tiff(tmp_path / "t.tif", {"pixels": copy, 254: 1}, {"pixels": page})
    assert read_image(thumbnail_first)[0, 0, 0] == 200
    two = write_tiff(tmp_path / "2.tif", {"pixels": page}, {"pixels": copy, 255: 2}, {"pixels": page // 2})
    with pytest.raises(InputError, match="has 2 frames"):
        read_image(two)
    assert read_image(two, frame=2)[0, 0, 0] == 100


def test_a_page_is_judged_by_its_own_tags(tmp_path):
    pages = {"pixels": np.full((2, 2), 7, np.uint8)}, {"pixels": np.ones((2, 2), np.float32)}
    path = write_tiff(tmp_path / "a.tif", *pages)
    assert grey(path, frame=1) == [7, 7]
    with pytest.raises(InputError, match="floating-point"):
        read_image(path, frame=2)


@pytest.mark.parametrize(("kind", "frames"), [(0x030000, 1), (0x000000, 1), (0x020002, 2)])
def test_what_a_photograph_carries_counts_only_where_it_is_its_equal(tmp_path, kind, frames):
    """A JPEG may hold a preview or a map of brightness (one image), or the views of a stereo camera (two)."""
    path = tmp_path / "a.jpg"
    flat(0).save(path, format="MPO", save_all=True, append_images=[flat(255)])
    data = path.read_bytes()
    second = data.index(b"MPF\0") + 4 + 8 + 2 + 3 * 12 + 4 + 16  # the second entry of the list of images
    path.write_bytes(data[:second] + struct.pack(data_order(data), kind) + data[second + 4 :])
    assert len(list(read_frames(path))) == frames


def data_order(data):
    return "<I" if data[data.index(b"MPF\0") + 4 :].startswith(b"II") else ">I"


# --- sizes, warnings --------------------------------------------------------------------------------------------------


def test_a_scan_above_the_limit_is_read_where_it_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = tmp_path / "scan.png"
    Image.new("L", (40, 30)).save(path)
    with pytest.raises(InputError, match="40 x 30 pixels exceeds limit of 100; --max-pixels 1200 allows it"):
        read_image(path)
    assert read_image(path, max_pixels=1200).shape == (30, 40, 3)
    with pytest.raises(InputError, match="exceeds limit of 1199"):
        read_image(path, max_pixels=1199)
    allow_pixels(1200)
    assert read_image(path).shape == (30, 40, 3)


def test_a_later_page_is_measured_too(tmp_path):
    small, large = np.zeros((2, 2), np.uint8), np.zeros((20, 20), np.uint8)
    path = write_tiff(tmp_path / "a.tif", {"pixels": small}, {"pixels": large})
    with pytest.raises(InputError, match="20 x 20 pixels exceeds limit of 50"):
        read_image(path, frame=2, max_pixels=50)


def test_no_warning_of_pillow_is_seen_or_ends_the_run(tmp_path):
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff"  # damaged: Pillow warns of it
    out = io.BytesIO()
    Image.fromarray(NOISE).save(out, "JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(out.getvalue())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(tmp_path / "a.jpg")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        read_image(tmp_path / "a.jpg")
    assert not seen
