"""A second renderer of grey DICOM, one pixel at a time, straight from the standard's formulas.

It shares no code with pfedge and reads no file: a `Case` says in plain numbers what stands in one, `write` makes the
file from it, and `render` says what must be seen.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
}


@dataclass(frozen=True)
class Table:
    first: int
    entries: tuple[int, ...]
    bits: int
    storage: str = "words"  # or `bytes`, or `packed`: two entries of 8 bits a word

    def look_up(self, value: float) -> int:
        position = math.floor(value + 0.5) - self.first
        return self.entries[max(0, min(position, len(self.entries) - 1))]


@dataclass(frozen=True)
class Case:
    """What stands in a file; None is what does not, "" what is present and empty."""

    frames: tuple[tuple[int, ...], ...]  # stored values, one row
    allocated: int = 16
    stored: int = 16
    high: int = 15
    signed: bool = False
    junk: int = 0  # what stands in the bits that hold no value
    photometric: str = "MONOCHROME2"
    shape: str | None = None
    slope: float | str | None = None
    intercept: float | str | None = None
    modality: Table | None = None
    centre: float | str | tuple[float, ...] | None = None
    width: float | str | tuple[float, ...] | None = None
    function: str | None = None
    voi: Table | None = None
    padding: int | None = None
    padding_limit: int | None = None
    groups: str | None = None  # where rescale and VOI stand: `shared`, `frame`, or in the data set
    syntax: str = "explicit"


def first(value):
    return value[0] if isinstance(value, tuple) else value


def render(case: Case, frame: int) -> list[float]:
    """Return what each pixel of a frame must be, 0 to 255, before it is rounded."""
    given = [value for value in (case.slope, case.intercept) if value not in {None, ""}]
    modal = []
    for value in case.frames[frame]:
        if case.modality is not None:
            modal.append(case.modality.look_up(value))
        else:
            modal.append(value * case.slope + case.intercept if len(given) == 2 else value)
    centre, width = first(case.centre), first(case.width)
    inverse = case.shape == "INVERSE" if case.shape else case.photometric == "MONOCHROME1"
    if case.voi is not None:
        top = 2**case.voi.bits - 1
        shown = [case.voi.look_up(value) / top * 255 for value in modal]
    elif centre not in {None, ""} and width not in {None, ""}:
        shown = [window(value, centre, width, case.function or "LINEAR") for value in modal]
    else:
        return over_own_range(case, case.frames[frame], modal, inverse=inverse)
    return [255 - value if inverse else value for value in shown]


def window(x, c, w, function):
    """PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.2 (LINEAR_EXACT), C.11.2.1.3.1 (SIGMOID), to 0..255."""
    if function == "LINEAR" and x <= c - 0.5 - (w - 1) / 2:
        y = 0
    elif function == "LINEAR" and x > c - 0.5 + (w - 1) / 2:
        y = 1
    elif function == "LINEAR":
        y = (x - (c - 0.5)) / (w - 1) + 0.5
    elif function == "LINEAR_EXACT" and x <= c - w / 2:
        y = 0
    elif function == "LINEAR_EXACT" and x > c + w / 2:
        y = 1
    elif function == "LINEAR_EXACT":
        y = (x - c) / w + 0.5
    else:
        y = 1 / (1 + math.exp(min(700, -4 * (x - c) / w)))  # at 700 it is 0 for every purpose, and does not overflow
    return 255 * y


def over_own_range(case, stored, modal, *, inverse):
    low_pad, high_pad = 1, 0
    if case.padding is not None:
        other = case.padding if case.padding_limit is None else case.padding_limit
        low_pad, high_pad = min(case.padding, other), max(case.padding, other)
    padded = [low_pad <= value <= high_pad for value in stored]
    inside = [value for value, out in zip(modal, padded, strict=True) if not out]
    result = []
    for value, out in zip(modal, padded, strict=True):
        if out:
            result.append(0)
            continue
        low, high = min(inside), max(inside)
        grey = (value - low) / (high - low) * 255 if high > low else 0
        result.append(255 - grey if inverse else grey)
    return result


def words_of(case: Case) -> bytes:
    """Return the pixel data: each value at its place in a word, the rest of the word filled with junk."""
    mask = (1 << case.stored) - 1
    shift = case.high + 1 - case.stored
    order = ">" if case.syntax == "big" else "<"
    letter = {8: "B", 16: "H", 32: "I"}[case.allocated]
    junk = case.junk & ~(mask << shift) & ((1 << case.allocated) - 1)
    words = [junk | (value & mask) << shift for frame in case.frames for value in frame]
    data = struct.pack(f"{order}{len(words)}{letter}", *words)
    return data + b"\0" * (len(data) % 2)


def table_item(table: Table, *, signed: bool, syntax: str) -> Dataset:
    item = Dataset()
    order = ">" if syntax == "big" else "<"
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(table.entries) % 65536, table.first, table.bits])
    words = list(table.entries)
    if table.storage == "packed":
        padded = [*words, 0][: len(words) + len(words) % 2]
        words = [low | high << 8 for low, high in zip(padded[::2], padded[1::2], strict=True)]
    if table.storage == "words" and len(words) > 1:
        item.add_new("LUTData", "US", words)
    else:
        item.add_new("LUTData", "OW", struct.pack(f"{order}{len(words)}H", *words))
    return item


def set_all(target: Dataset, **values) -> None:
    for name, value in values.items():
        if value is not None:
            setattr(target, name, list(value) if isinstance(value, tuple) else value)


def dataset_of(case: Case) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = SYNTAXES[case.syntax]
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    set_all(
        dataset, Rows=1, Columns=len(case.frames[0]), SamplesPerPixel=1, PhotometricInterpretation=case.photometric,
        BitsAllocated=case.allocated, BitsStored=case.stored, HighBit=case.high, PixelRepresentation=int(case.signed),
        PresentationLUTShape=case.shape,
    )  # fmt: skip
    if len(case.frames) > 1 or case.groups:
        dataset.NumberOfFrames = len(case.frames)
    signed_words = "SS" if case.signed else "US"
    for name, value in (("PixelPaddingValue", case.padding), ("PixelPaddingRangeLimit", case.padding_limit)):
        if value is not None:
            dataset.add_new(name, signed_words, value)
    if case.modality is not None:
        dataset.ModalityLUTSequence = Sequence([table_item(case.modality, signed=case.signed, syntax=case.syntax)])
    transformation, look = Dataset(), Dataset()
    set_all(transformation, RescaleSlope=case.slope, RescaleIntercept=case.intercept)
    set_all(look, WindowCenter=case.centre, WindowWidth=case.width, VOILUTFunction=case.function)
    if case.voi is not None:
        signed = case.voi.first < 0
        look.VOILUTSequence = Sequence([table_item(case.voi, signed=signed, syntax=case.syntax)])
    if case.groups is None:
        dataset.update(transformation)
        dataset.update(look)
    else:
        group = Dataset()
        group.PixelValueTransformationSequence, group.FrameVOILUTSequence = Sequence([transformation]), Sequence([look])
        if case.groups == "shared":
            dataset.SharedFunctionalGroupsSequence = Sequence([group])
        else:
            dataset.SharedFunctionalGroupsSequence = Sequence([Dataset()])
            dataset.PerFrameFunctionalGroupsSequence = Sequence([group for _ in case.frames])
    dataset.add_new("PixelData", "OB" if case.allocated == 8 and case.syntax != "implicit" else "OW", words_of(case))
    return dataset


def write(case: Case, path) -> None:
    implicit, little = case.syntax == "implicit", case.syntax != "big"
    pydicom.dcmwrite(path, dataset_of(case), implicit_vr=implicit, little_endian=little, enforce_file_format=True)


def expected(case: Case, frame: int) -> np.ndarray:
    return np.array(render(case, frame))
