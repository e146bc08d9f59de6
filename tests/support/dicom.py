"""DICOM files of few pixels."""

from __future__ import annotations

import numpy as np
import pytest


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
