"""Ordinary image files: every pixel type becomes 8-bit RGB by one rule, or is refused by name.

    with Picture(Path("cell.tif")) as opened:
        opened.render(0)               # uint8 [h, w, 3], the first of `opened.frames`

| a file holds | it becomes |
|---|---|
| 1, 2, 4, 8 bits of grey | spread over 0..255 |
| 12 or 16 bits of grey, 16 bits a colour | its upper 8 bits |
| a palette, YCbCr, CMYK | RGB, by the plain formula; colour profiles are not applied |
| an alpha channel | dropped, not blended: no file says with what |
| white as zero | inverted |
| signed, 32-bit or floating-point samples | refused: no file says which of them is white |
| Lab, HSV, channels that are neither colour nor alpha | refused |
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from pfedge_runtime.errors import InputError
from pfedge_runtime.inputs.pixels import Pixels, check_size, grey_to_rgb, to_eight_bits

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "AVIF", "JPEG2000", "PPM")  # what the rule was written for
MAGIC = 16  # bytes that tell a format
CONVERTIBLE = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr"}
SIXTEEN_BITS_AS_32 = {"PNG", "PPM"}  # Pillow may decode their 16 bits to mode I, which has 32
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLES_PER_PIXEL, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 262, 277, 338, 339
SUBFILE_TYPE, OLD_SUBFILE_TYPE = 254, 255
CHANNELS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}  # of TIFF's grey (twice), RGB, palette, CMYK and YCbCr
WHITE_IS_ZERO = 0
UNSIGNED = 1
SAMPLE_FORMATS = {2: "signed", 3: "floating-point"}
ALPHA = {1, 2}  # kinds of a TIFF's extra sample
REDUCED, MASK = 1, 4  # bits of a TIFF page's subfile type
OLD_REDUCED = 2
MPF_IMAGES = 0xB002  # the list of pictures in a JPEG that holds several (CIPA DC-007)


class Picture:
    """An image file whose frames can be rendered one by one; a context manager that closes it.

    Attributes:
        frames: how many there are. A TIFF's pages that are smaller copies or masks of another do not count, nor does
            what a JPEG carries besides its photograph: a preview, a map of brightness.
    """

    def __init__(self, path: Path, *, max_pixels: int | None = None) -> None:
        """Read the file's header without decoding it.

        Args:
            path: the file; its content decides its format, not its name.
            max_pixels: the most that a frame may have; see `check_size`.

        Raises:
            InputError: the file is missing, damaged, too large, or no image.
        """
        self._path = path
        self._max_pixels = max_pixels
        with _named(path):
            self._picture = _open(path)
            check_size(*self._picture.size, max_pixels)
            self._at = _frames(self._picture)
        self.frames = len(self._at)

    def __enter__(self) -> Self:
        """Return the file, open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._picture.close()

    def render(self, frame: int) -> Pixels:
        """Decode a frame, counted from 0, upright: uint8 `[h, w, 3]`.

        Raises:
            InputError: it is damaged, too large, or of a pixel type that no rule converts.
        """
        with _named(self._path):
            if self._at[frame] or frame:
                self._picture.seek(self._at[frame])
                check_size(*self._picture.size, self._max_pixels)
            return _to_rgb(self._picture)


def _open(path: Path) -> ImageFile:
    """Open a file with the first format that takes it.

    `Image.open` would try forty formats, one of which starts another program, and refuse by a limit that belongs to
    the whole process.
    """
    Image.init()
    file = path.open("rb")
    start = file.read(MAGIC)
    failure: Exception | None = None
    for name in FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))
        if factory is None or (accepts is not None and accepts(start) is not True):
            continue
        try:
            file.seek(0)
            return factory(file, str(path))
        except (SyntaxError, IndexError, TypeError, KeyError, struct.error, OSError, ValueError) as error:
            failure = _explained(name, error)
    file.close()
    if failure is None:
        message = f"{path} is not an image that can be read (PNG, JPEG, BMP, TIFF, WebP, GIF, AVIF or DICOM)"
        raise InputError(message)
    raise failure


def _explained(format_: str, error: Exception) -> Exception:
    """Say what to do about a TIFF whose pixels Pillow has no mode for: signed bytes, five channels, 24-bit floats."""
    if format_ == "TIFF" and isinstance(error, SyntaxError):
        return InputError(f"its samples are of a kind that is not read ({error}); store 8 or 16 bits of grey or RGB")
    return error


def _frames(picture: ImageFile) -> list[int]:
    """Return where the frames are that can be asked for."""
    count = int(getattr(picture, "n_frames", 1))
    if count == 1:
        return [0]
    if picture.format == "TIFF":
        pages = [at for at in range(count) if not _belongs_to_another(picture, at)]
        picture.seek(0)
        return pages or list(range(count))
    if picture.format == "MPO":
        # Every JPEG reader shows the first picture. The others count where they are its equals: views, parts.
        entries: list[dict[str, Any]] = picture.mpinfo.get(MPF_IMAGES, [])  # type: ignore[attr-defined]
        equals = any(str(entry["Attribute"]["MPType"]).startswith("Multi-Frame") for entry in entries)
        return list(range(count)) if equals else [0]
    return list(range(count))


def _belongs_to_another(picture: ImageFile, page: int) -> bool:
    """Whether a TIFF's page is a smaller copy or a mask."""
    picture.seek(page)
    tags = _tags(picture)
    return bool(tags.get(SUBFILE_TYPE, 0) & (REDUCED | MASK)) or tags.get(OLD_SUBFILE_TYPE) == OLD_REDUCED


def _to_rgb(picture: ImageFile) -> Pixels:
    """Apply the rule that the module's table gives."""
    bits, white_is_zero = 16, False
    if picture.format == "TIFF":
        _check_tiff(picture)
        bits = max(_numbers(picture, BITS_PER_SAMPLE, 1))
        white_is_zero = _tags(picture).get(PHOTOMETRIC) == WHITE_IS_ZERO
    mode = picture.mode
    upright = ImageOps.exif_transpose(picture)
    if mode.startswith("I;16") or (mode == "I" and picture.format in SIXTEEN_BITS_AS_32):
        grey = to_eight_bits(np.asarray(upright).astype(np.int64), bits)
        return grey_to_rgb(~grey if white_is_zero else grey)  # Pillow inverts up to 8 bits, and no more
    if mode in {"I", "F"}:
        what = "32-bit whole" if mode == "I" else "floating-point"
        message = f"its samples are {what} numbers, and nothing says which is black and which white; store 8 or 16 bits"
        raise InputError(message)
    if mode not in CONVERTIBLE:
        message = f"its colours are {mode}, which are not converted; store RGB"
        raise InputError(message)
    return np.asarray(upright.convert("RGB"))


def _check_tiff(picture: ImageFile) -> None:
    """Refuse a TIFF whose samples Pillow would take for what they are not.

    Raises:
        InputError: they are signed, floating-point, or more channels than the colours need and an alpha.
    """
    formats = _numbers(picture, SAMPLE_FORMAT, UNSIGNED)
    if set(formats) != {UNSIGNED}:
        kind = SAMPLE_FORMATS.get(max(formats), "of no known format")
        message = f"its samples are {kind}, and nothing says which is black and which white; store them unsigned"
        raise InputError(message)
    photometric = _tags(picture).get(PHOTOMETRIC, WHITE_IS_ZERO)
    if photometric not in CHANNELS:
        message = f"its PhotometricInterpretation {photometric} is not supported; store grey or RGB"
        raise InputError(message)
    extra = _numbers(picture, SAMPLES_PER_PIXEL, 1)[0] - CHANNELS[photometric]
    is_alpha = extra == 1 and set(_numbers(picture, EXTRA_SAMPLES, 0)) <= ALPHA
    if extra and not is_alpha:
        message = f"it has {extra + CHANNELS[photometric]} channels, of which {CHANNELS[photometric]} are colours"
        raise InputError(message)


def _tags(picture: ImageFile) -> Any:  # noqa: ANN401 -- the stubs know of no TIFF
    return picture.tag_v2  # type: ignore[attr-defined]


def _numbers(picture: ImageFile, tag: int, default: int) -> tuple[int, ...]:
    value = _tags(picture).get(tag, default)
    return value if isinstance(value, tuple) else (value,)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what a damaged file raises into one line that names it."""
    try:
        yield
    except FileNotFoundError as error:
        message = f"no such file: {path}"
        raise InputError(message) from error
    except InputError as error:
        message = str(error) if str(path) in str(error) else f"cannot read the image {path}: {error}"
        raise InputError(message) from error
    except Exception as error:  # Pillow's decoders raise errors of any class on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"cannot read the image {path}: {reason}"
        raise InputError(message) from error
