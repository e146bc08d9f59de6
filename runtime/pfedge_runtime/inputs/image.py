"""From an image file to the uint8 array that the graph takes: the same code in training and on the device.

    preprocess = ImagePreprocess(height=224, width=224)
    preprocess(preprocess.read(Path("cell.png")))      # uint8 [224, 224, 3]

Scaling and normalisation are inside the graph. What is not is here: decoding, orientation, colour mode,
resizing, and a DICOM's rescale and window.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pfedge_runtime.errors import InputError, MissingExtraError

Pixels = NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".dcm"})
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
DICOM_PREAMBLE = 128


@dataclass(frozen=True)
class ImagePreprocess:
    """How an image of any size becomes `height` x `width`.

    Attributes:
        height: rows of the result, in pixels.
        width: columns of the result, in pixels.
        resample: the filter: `nearest`, `bilinear`, `bicubic` or `lanczos`, antialiased as Pillow does it.
        shorter_side: None stretches the image to the size; a number first resizes the shorter side to it
            and then crops the centre.
    """

    height: int
    width: int
    resample: str = "bilinear"
    shorter_side: int | None = None

    kind: ClassVar[str] = "image"
    input_name: ClassVar[str] = "images"
    dtype: ClassVar[str] = "uint8"
    suffixes: ClassVar[frozenset[str]] = IMAGE_SUFFIXES

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one input of the graph: `(height, width, 3)`."""
        return self.height, self.width, 3

    def read(self, path: Path) -> Pixels:
        """Decode an image or DICOM file; see `read_image`."""
        return read_image(path)

    def describe(self) -> str:
        """Return the input's size in words."""
        return f"{self.height} x {self.width} px"

    def __call__(self, image: Pixels) -> Pixels:
        """Resize uint8 `[h, w, 3]` to uint8 `[height, width, 3]`; an image of that size is returned as it is.

        Raises:
            InputError: the array is not uint8 `[h, w, 3]`.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:  # noqa: PLR2004 -- RGB
            message = f"an image must be uint8 [height, width, 3], got {image.dtype} {list(image.shape)}"
            raise InputError(message)
        if image.shape[:2] == (self.height, self.width):
            return image
        picture = Image.fromarray(image)
        filter_ = RESAMPLING[self.resample]
        if self.shorter_side is None:
            return np.asarray(picture.resize((self.width, self.height), filter_))
        scale = self.shorter_side / min(picture.size)
        wide, high = (max(1, round(side * scale)) for side in picture.size)
        left, top = (wide - self.width) // 2, (high - self.height) // 2
        return np.asarray(picture.resize((wide, high), filter_).crop((left, top, left + self.width, top + self.height)))

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> ImagePreprocess:
        """Read back the fields that stand in a manifest.

        Raises:
            TypeError: one is missing or unknown.
            ValueError: the filter is unknown.
        """
        result = cls(**fields)
        if result.resample not in RESAMPLING:
            message = f"unknown filter {result.resample!r}, this version knows {sorted(RESAMPLING)}"
            raise ValueError(message)
        sides = (result.height, result.width, 1 if result.shorter_side is None else result.shorter_side)
        if not all(type(side) is int and side > 0 for side in sides):
            message = "height, width and shorter_side must be positive and whole"
            raise ValueError(message)
        return result


def read_image(path: Path) -> Pixels:
    """Decode an image or DICOM file to RGB, uint8 `[h, w, 3]`; grey becomes RGB, 16 bits become 8.

    Raises:
        InputError: the file is missing, truncated, or not an image.
        MissingExtraError: it is a DICOM file and the extra `dicom` is not installed.
    """
    if _is_dicom(path):
        return _read_dicom(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                upright = ImageOps.exif_transpose(picture)
                if upright.mode.startswith("I"):
                    return _grey_to_rgb(_sixteen_to_eight(np.asarray(upright)))
                return np.asarray(upright.convert("RGB"))
    except FileNotFoundError as error:
        message = f"no such file: {path}"
        raise InputError(message) from error
    except UnidentifiedImageError as error:
        message = f"{path} is not an image that can be read (PNG, JPEG, BMP, TIFF, WebP or DICOM)"
        raise InputError(message) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        message = f"cannot read the image {path}: {error}"
        raise InputError(message) from error


def _sixteen_to_eight(grey: NDArray[Any]) -> Pixels:
    """Keep the high byte of 16-bit grey values [h, w]."""
    values = np.clip(grey.astype(np.int64), 0, 65535) >> 8
    return values.astype(np.uint8)


def _grey_to_rgb(grey: Pixels) -> Pixels:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(DICOM_PREAMBLE + 4)[DICOM_PREAMBLE:] == b"DICM"
    except OSError:
        return False  # reading it as an image reports what is wrong


def _read_dicom(path: Path) -> Pixels:
    """Apply a DICOM's rescale and first window (DICOM PS3.3 C.11.1, C.11.2), else stretch its full range."""
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
        return _grey_to_rgb(grey)
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
    return pixels if pixels.dtype == np.uint8 else _sixteen_to_eight(pixels)


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
