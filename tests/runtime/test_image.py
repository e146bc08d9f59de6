from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pfedge_runtime.errors import BundleError, InputError, MissingExtraError
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


def make_dicom(path, pixels, **tags):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    frames, rows, columns = (1, *pixels.shape) if pixels.ndim == 2 else pixels.shape
    values = {
        "Rows": rows, "Columns": columns, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0, **tags,
    }  # fmt: skip
    if frames > 1:
        values["NumberOfFrames"] = frames
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.astype(np.uint16).tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_a_dicom_window_is_applied(tmp_path):
    pixels = np.array([[0, 1024, 1064, 1104, 4095]])
    path = make_dicom(
        tmp_path / "ct.dcm", pixels, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=80
    )
    grey = read_image(path)[0, :, 0]
    assert grey[0] == 0
    assert grey[4] == 255
    assert abs(int(grey[2]) - 128) <= 2


def test_a_dicom_without_window_is_stretched_and_monochrome1_inverted(tmp_path):
    pixels = np.array([[100, 200]])
    assert read_image(make_dicom(tmp_path / "a.dcm", pixels))[0, :, 0].tolist() == [0, 255]
    inverted = make_dicom(tmp_path / "b.dcm", pixels, PhotometricInterpretation="MONOCHROME1")
    assert read_image(inverted)[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_a_colour_dicom_keeps_its_colours(tmp_path, photometric):
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    colour = np.full((4, 4, 3), (200, 40, 60), np.uint8)
    stored = np.asarray(Image.fromarray(colour).convert("YCbCr")) if photometric == "YBR_FULL" else colour
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows = dataset.Columns = 4
    dataset.SamplesPerPixel, dataset.PlanarConfiguration, dataset.PhotometricInterpretation = 3, 0, photometric
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = stored.tobytes()
    dataset.save_as(tmp_path / "colour.dcm", enforce_file_format=True)
    assert np.abs(read_image(tmp_path / "colour.dcm").astype(int) - colour).max() <= 2


def test_bad_dicom_files_are_named(tmp_path):
    frames = make_dicom(tmp_path / "frames.dcm", np.zeros((2, 3, 3)))
    with pytest.raises(InputError, match="has 2 frames"):
        read_image(frames)
    cut = make_dicom(tmp_path / "cut.dcm", np.zeros((30, 30)))
    cut.write_bytes(cut.read_bytes()[:-900])
    with pytest.raises(InputError, match=r"cannot read the DICOM file .*cut\.dcm"):
        read_image(cut)


def test_dicom_without_the_extra_names_it(tmp_path, monkeypatch):
    path = make_dicom(tmp_path / "ct.dcm", np.zeros((3, 3)))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingExtraError, match=r"pfedge\[dicom\]"):
        read_image(path)


def test_real_ct_slices_in_jpeg_2000(shared_data):
    for path in sorted((shared_data / "dicom").glob("*.dcm")):
        image = read_image(path)
        assert image.shape == (512, 512, 3)
        assert image.std() > 30
