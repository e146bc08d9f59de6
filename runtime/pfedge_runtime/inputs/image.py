"""From an image file to the uint8 array that the graph takes: the same code in training and on the device.

    >>> photograph = np.zeros((480, 640, 3), dtype=np.uint8)
    >>> ImagePreprocess(height=224, width=224, shorter_side=256)(photograph).shape
    (224, 224, 3)

Scaling and normalisation are inside the graph. What is not is here: decoding, orientation, colour mode and resizing;
a DICOM's rescale and window stand in `dicom`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pfedge_runtime.errors import InputError
from pfedge_runtime.inputs.dicom import is_dicom, read_dicom
from pfedge_runtime.inputs.pixels import Pixels, grey_to_rgb, sixteen_to_eight

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".dcm"})
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


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
    if is_dicom(path):
        return read_dicom(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                upright = ImageOps.exif_transpose(picture)
                if upright.mode.startswith("I"):
                    return grey_to_rgb(sixteen_to_eight(np.asarray(upright)))
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
