from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from pfedge_runtime.errors import InputError, MissingExtraError
from pfedge_runtime.inputs import read_image
from support.dicom import make_dicom


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
