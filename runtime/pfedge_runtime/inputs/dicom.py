"""DICOM files: what a scanner stored becomes the grey or colour that a viewer would show.

    read_dicom(Path("slice.dcm"))      # uint8 [h, w, 3]

The extra `dicom` brings pydicom and a decoder of JPEG 2000.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.errors import InputError, MissingExtraError
from pfedge_runtime.inputs.pixels import Pixels, grey_to_rgb, sixteen_to_eight

PREAMBLE = 128  # bytes before the letters DICM (PS3.10 7.1)


def is_dicom(path: Path) -> bool:
    """Say whether a file begins as DICOM files do; one that cannot be read does not."""
    try:
        with path.open("rb") as file:
            return file.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"
    except OSError:
        return False  # reading it as an image reports what is wrong


def read_dicom(path: Path) -> Pixels:
    """Apply a DICOM's rescale and first window (DICOM PS3.3 C.11.1, C.11.2), else stretch its full range.

    Raises:
        MissingExtraError: the extra `dicom` is not installed.
        InputError: the file is damaged, has several frames, or colours of another kind.
    """
    try:
        import pydicom
        from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
    except ImportError as error:
        what = f"reading the DICOM file {path}"
        raise MissingExtraError(what, "dicom") from error
    try:
        dataset = pydicom.dcmread(path)
        pixels = dataset.pixel_array
        if int(dataset.get("NumberOfFrames", 1) or 1) != 1:
            message = f"{path} has {dataset.NumberOfFrames} frames; pass single-frame files"
            raise InputError(message)
        if int(dataset.get("SamplesPerPixel", 1)) == 3:  # noqa: PLR2004 -- colour
            return _colour_dicom(dataset, pixels)
        values = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset).astype(np.float64)
        grey = _stretch(values, dataset)
        if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
            grey = 255 - grey
        return grey_to_rgb(grey)
    except InputError:
        raise
    except Exception as error:  # pydicom and its decoders raise errors of any class on damaged files
        reason = " ".join(str(error).split())
        message = f"cannot read the DICOM file {path}: {reason}"
        raise InputError(message) from error


def _colour_dicom(dataset: Any, pixels: NDArray[Any]) -> Pixels:  # noqa: ANN401 -- pydicom has no stubs
    """Take colour pixels [h, w, 3] as pydicom decodes them: it has already turned YBR_FULL into RGB."""
    photometric = str(dataset.PhotometricInterpretation)
    if photometric not in {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}:
        message = f"DICOM photometric interpretation {photometric} is not supported"
        raise InputError(message)
    return pixels if pixels.dtype == np.uint8 else sixteen_to_eight(pixels)


def _stretch(values: NDArray[np.float64], dataset: Any) -> Pixels:  # noqa: ANN401 -- pydicom has no stubs
    """Map to 0..255: the window's own output range where there is a window, else the image's range."""
    low, high = float(values.min()), float(values.max())
    if "WindowWidth" in dataset:
        slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
        bits = int(dataset.BitsStored)
        lowest = -(2 ** (bits - 1)) if dataset.PixelRepresentation else 0
        ends = sorted((lowest * slope + intercept, (lowest + 2**bits - 1) * slope + intercept))
        low, high = ends
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    return np.clip(np.rint((values - low) * (255 / (high - low))), 0, 255).astype(np.uint8)
