"""From an image file to the uint8 array that the graph takes: the same code in training and on the device.

    >>> photograph = np.zeros((480, 640, 3), dtype=np.uint8)
    >>> ImagePreprocess(height=224, width=224, shorter_side=256)(photograph).shape
    (224, 224, 3)

Scaling and normalisation are inside the graph. What is not is here: resizing, and what a file's pixels become. The
rule for that stands in `picture` for ordinary images, and in `dicom_rendering` for DICOM.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from pfedge_runtime.errors import InputError
from pfedge_runtime.inputs.dicom import DicomFile, is_dicom
from pfedge_runtime.inputs.picture import Picture
from pfedge_runtime.inputs.pixels import Pixels, choose_frame
from pfedge_runtime.inputs.quiet import quiet

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

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one input of the graph: `(height, width, 3)`."""
        return self.height, self.width, 3

    def read(self, path: Path, *, frame: int | None = None, max_pixels: int | None = None) -> Pixels:
        """Decode an image or DICOM file; see `read_image`."""
        return read_image(path, frame=frame, max_pixels=max_pixels)

    def read_frames(self, path: Path, *, max_pixels: int | None = None) -> Iterator[Pixels]:
        """Decode every frame of an image or DICOM file; see `read_frames`."""
        return read_frames(path, max_pixels=max_pixels)

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


def read_image(path: Path, *, frame: int | None = None, max_pixels: int | None = None) -> Pixels:
    """Decode an image or DICOM file to RGB, uint8 `[h, w, 3]`; `picture` and `dicom_rendering` say how.

    Args:
        path: the file; its content decides its format, not its name.
        frame: which of several frames or pages, from 1; None is the only one.
        max_pixels: refuse an image of more; None is Pillow's `Image.MAX_IMAGE_PIXELS`.

    Raises:
        InputError: the file is missing, damaged, too large, or no image; or it has several frames and none is asked
            for, or not the one that is; or no rule converts its pixels.
        MissingExtraError: it is a DICOM file and the extra that decodes it is not installed.
    """
    with quiet(), _open(path, max_pixels) as file:
        return file.render(choose_frame(path, file.frames, frame))


def read_frames(path: Path, *, max_pixels: int | None = None) -> Iterator[Pixels]:
    """Decode every frame or page of an image or DICOM file, in order; see `read_image`."""
    with quiet():
        file = _open(path, max_pixels)
    with file:
        for frame in range(file.frames):
            with quiet():
                pixels = file.render(frame)
            yield pixels


def _open(path: Path, max_pixels: int | None) -> DicomFile | Picture:
    if is_dicom(path):
        return DicomFile(path, max_pixels=max_pixels)
    return Picture(path, max_pixels=max_pixels)
