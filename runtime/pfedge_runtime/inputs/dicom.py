"""DICOM files: what a scanner stored becomes the grey or colour that a viewer would show.

    with DicomFile(Path("slice.dcm"), max_pixels=None) as opened:
        opened.render(0)               # uint8 [h, w, 3], the first of `opened.frames`

The extra `dicom` brings pydicom and a decoder of JPEG 2000; `dicom-lossless` brings JPEG Lossless and JPEG-LS.
How values become grey stands in `dicom_rendering`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.errors import InputError, MissingExtraError
from pfedge_runtime.inputs.dicom_rendering import FrameAttributes, integer, render_grey, render_palette
from pfedge_runtime.inputs.pixels import BYTE, Pixels, check_size, grey_to_rgb, to_eight_bits
from pfedge_runtime.inputs.quiet import quiet_native, write_back

PREAMBLE = 128  # bytes before the letters DICM (PS3.10 7.1)
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
GREY = {"MONOCHROME1", "MONOCHROME2"}
COLOUR = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
JPEG_2000_COLOUR = {"YBR_ICT", "YBR_RCT"}  # the decoder of JPEG 2000 turns them into RGB; nothing else does
# One decoder for each way of compression: were it left to what happens to be installed, a device could see other
# pixels than training did.
DECODERS = {
    "JPEGBaseline8Bit": "pillow",
    "JPEGExtended12Bit": "pillow",
    "JPEG2000Lossless": "pylibjpeg",
    "JPEG2000": "pylibjpeg",
    "HTJ2KLossless": "pylibjpeg",
    "HTJ2KLosslessRPCL": "pylibjpeg",
    "HTJ2K": "pylibjpeg",
    "RLELossless": "pydicom",
    "JPEGLossless": "gdcm",
    "JPEGLosslessSV1": "gdcm",
    "JPEGLSLossless": "pyjpegls",
    "JPEGLSNearLossless": "pyjpegls",
}
LOSSLESS = {"gdcm", "pyjpegls"}  # decoders of the extra `dicom-lossless`


def is_dicom(path: Path) -> bool:
    """Say whether a file begins as DICOM files do; one that cannot be read does not."""
    try:
        with path.open("rb") as file:
            return file.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"
    except OSError:
        return False  # reading it as an image reports what is wrong


class DicomFile:
    """A DICOM file whose frames can be rendered one by one.

    Attributes:
        frames: how many it has.
    """

    def __init__(self, path: Path, *, max_pixels: int | None = None) -> None:
        """Read the file without decoding it.

        Args:
            path: a file that begins as DICOM files do.
            max_pixels: the most that a frame may have; see `check_size`.

        Raises:
            MissingExtraError: the extra `dicom` is not installed.
            InputError: the file is damaged, holds no image, or one that is too large.
        """
        try:
            import pydicom
        except ImportError as error:
            what = f"reading the DICOM file {path}"
            raise MissingExtraError(what, "dicom") from error
        self._path = path
        with _named(path):
            self._dataset: Any = pydicom.dcmread(path)
            meta = self._dataset.file_meta
            if not any(keyword in self._dataset for keyword in PIXELS) or not self._dataset.get("Rows"):
                kind = meta.get("MediaStorageSOPClassUID")
                message = f"it holds no image, but {f'a {kind.name}' if kind else 'does not say what'}"
                raise InputError(message)
            if "TransferSyntaxUID" not in meta:
                message = "it has no TransferSyntaxUID"
                raise InputError(message)
            self._syntax: Any = meta.TransferSyntaxUID
            self.frames = max(1, integer(self._dataset, "NumberOfFrames", 1))
            check_size(integer(self._dataset, "Columns"), integer(self._dataset, "Rows"), max_pixels)

    def __enter__(self) -> Self:
        """Return the file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left open: all of it was read."""

    def render(self, frame: int) -> Pixels:
        """Decode a frame, counted from 0, and render it as it would be shown: uint8 `[h, w, 3]`.

        Raises:
            MissingExtraError: its decoder is not installed.
            InputError: it is damaged, or cannot be rendered by the rules; the message names the attribute.
        """
        with _named(self._path):
            attributes = FrameAttributes(self._dataset, frame)
            photometric = str(attributes.get("PhotometricInterpretation"))
            if photometric in GREY:
                return grey_to_rgb(render_grey(self._samples(attributes), attributes))
            if photometric == "PALETTE COLOR":
                return render_palette(self._samples(attributes), attributes)
            self._refuse_unknown_colour(attributes, photometric)
            colours, stored = self._decode(attributes, raw=False), integer(self._dataset, "BitsStored")
            if colours.max() >= 2**stored:
                message = f"its colours do not fit into BitsStored {stored}"
                raise InputError(message)
            return to_eight_bits(colours, stored)

    def _refuse_unknown_colour(self, attributes: FrameAttributes, photometric: str) -> None:
        of_jpeg_2000 = photometric in JPEG_2000_COLOUR and "2000" not in self._syntax.name
        if photometric not in COLOUR or of_jpeg_2000:
            message = f"its PhotometricInterpretation {photometric} ({self._syntax.name}) is not supported"
            raise InputError(message)
        if attributes.signed:
            message = "its colours are signed (PixelRepresentation 1)"
            raise InputError(message)
        stored, high = integer(self._dataset, "BitsStored"), integer(self._dataset, "HighBit")
        if high != stored - 1:
            message = f"its HighBit {high} is not one less than BitsStored {stored}"
            raise InputError(message)

    def _samples(self, attributes: FrameAttributes) -> NDArray[Any]:
        """Return the stored values [h, w] of a frame of one sample a pixel, without what else its words hold."""
        samples = integer(self._dataset, "SamplesPerPixel", 1)
        if samples != 1:
            message = f"its SamplesPerPixel is {samples} where one is meant"
            raise InputError(message)
        words = self._decode(attributes, raw=True)
        if words.dtype.kind == "f" or not _keeps_words(self._syntax):
            return words
        stored, size = integer(self._dataset, "BitsStored"), integer(self._dataset, "BitsAllocated")
        high = integer(self._dataset, "HighBit", stored - 1)
        if stored == size:
            return words
        if not 0 < stored <= high + 1 <= size:
            message = f"its HighBit {high} contradicts BitsStored {stored} and BitsAllocated {size}"
            raise InputError(message)
        # Up to the top, so that overlays above fall out, and down again: `>>` of a signed type carries the sign.
        return (words << (size - 1 - high)) >> (size - stored)

    def _decode(self, attributes: FrameAttributes, *, raw: bool) -> NDArray[Any]:
        from pydicom.pixels.decoders.base import get_decoder

        syntax = self._syntax
        plugin = DECODERS.get(syntax.keyword, "")
        try:
            decoder = get_decoder(syntax)
        except NotImplementedError as error:
            message = f"its transfer syntax {syntax.name} ({syntax}) cannot be decoded"
            raise InputError(message) from error
        if plugin and plugin not in decoder.available_plugins:
            what = f"decoding {self._path} ({syntax.name})"
            raise MissingExtraError(what, "dicom-lossless" if plugin in LOSSLESS else "dicom")
        stored = integer(self._dataset, "BitsStored", 0)
        if syntax.keyword == "JPEGExtended12Bit" and stored != BYTE:
            message = f"{stored} bits in {syntax.name} cannot be decoded, only {BYTE}"
            raise InputError(message)
        options = {"correct_unused_bits": False} if raw and _keeps_words(syntax) else {}
        decode: Any = decoder.as_array  # its type says nothing of most options
        with _gdcm_heard() if plugin == "gdcm" else nullcontext():
            pixels, _ = decode(self._dataset, index=attributes.frame, raw=raw, decoding_plugin=plugin, **options)
        return np.asarray(pixels)


def _keeps_words(syntax: Any) -> bool:  # noqa: ANN401 -- pydicom is an extra
    """Whether a transfer syntax keeps words as they were, bits above the value included; the others keep values."""
    return not syntax.is_encapsulated or syntax.keyword == "RLELossless"


@contextmanager
def _gdcm_heard() -> Iterator[None]:
    """Turn what GDCM only writes to stderr into an error: it fills what it cannot decode with anything."""
    import gdcm

    gdcm.Trace.DebugOff()
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    with quiet_native() as lines:
        yield
    write_back([line for line in lines if "JPEG" not in line])
    damaged = [line for line in lines if "JPEG" in line and "extraneous bytes" not in line]
    if damaged:
        raise InputError(damaged[0])


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file raises into one line that names it."""
    try:
        yield
    except MissingExtraError:
        raise
    except Exception as error:  # pydicom and its decoders raise errors of any class on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"cannot read the DICOM file {path}: {reason}"
        raise InputError(message) from error
