"""Kinds of DICOM that are no plain grey words: palettes, colours, floating point, bits; and what is refused by name."""

from __future__ import annotations

import shutil
import struct
import subprocess
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.data import get_testdata_file
from pydicom.sequence import Sequence
from pydicom.uid import MPEG2MPML, ExplicitVRBigEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from pfedge_runtime.errors import InputError, MissingExtraError
from pfedge_runtime.inputs import read_frames, read_image
from pfedge_runtime.inputs.dicom_lut import expand_segments
from support.dicom_reference import Case, Table, dataset_of, write

GREY = Case(frames=((0, 100, 200, 300),))


def save(dataset, path, **tags):
    for name, value in tags.items():
        setattr(dataset, name, value)
    little = dataset.file_meta.TransferSyntaxUID != ExplicitVRBigEndian
    pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=little, enforce_file_format=True)
    return path


def grey(path, frame=None):
    return read_image(path, frame=frame)[0, :, 0].tolist()


# --- palettes ---------------------------------------------------------------------------------------------------------


def palette_dataset(indices, tables, *, bits, first=0, storage="words", signed=False, segmented=False, order="<"):
    """PALETTE COLOR with one table a colour, plain or segmented."""
    case = Case(frames=(tuple(indices),), allocated=8, stored=8, high=7, signed=signed, photometric="PALETTE COLOR")
    dataset = dataset_of(case)
    if order == ">":
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    for colour, (count, code) in zip(("Red", "Green", "Blue"), tables, strict=True):
        words = list(code)
        if storage == "packed":
            even = [*words, 0][: len(words) + len(words) % 2]
            words = [low | high << 8 for low, high in zip(even[::2], even[1::2], strict=True)]
        name = f"{colour}PaletteColorLookupTable"
        dataset.add_new(f"{name}Descriptor", "SS" if signed else "US", [count, first, bits])
        data = struct.pack(f"{order}{len(words)}H", *words)
        dataset.add_new(f"Segmented{name}Data" if segmented else f"{name}Data", "OW", data)
    return dataset


@settings(deadline=None)  # files are written
@given(
    entries=st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=2, max_size=40),
    indices=st.lists(st.integers(0, 60), min_size=1, max_size=20),
    first=st.integers(0, 5),
    storage=st.sampled_from(["words", "packed"]),
    order=st.sampled_from("<>"),
    wide=st.booleans(),
)
def test_a_palette_is_applied(tmp_path_factory, entries, indices, first, storage, order, wide):
    bits, factor, storage = (16, 257, "words") if wide else (8, 1, storage)
    tables = [(len(entries), [entry[colour] * factor for entry in entries]) for colour in range(3)]
    dataset = palette_dataset(indices, tables, bits=bits, first=first, storage=storage, order=order)
    seen = read_image(save(dataset, tmp_path_factory.mktemp("palette") / "p.dcm"))[0]
    wanted = [entries[min(max(index - first, 0), len(entries) - 1)] for index in indices]
    assert seen.tolist() == [list(entry) for entry in wanted]


def test_a_palette_of_signed_indices(tmp_path):
    tables = [(4, [10, 20, 30, 40])] * 3
    dataset = palette_dataset([-2, -1, 0, 1, 2], tables, bits=8, first=-2, signed=True)
    assert grey(save(dataset, tmp_path / "p.dcm")) == [10, 20, 30, 40, 40]


@pytest.mark.parametrize(
    ("bits", "storage", "code", "expanded"),
    [
        (16, "words", [0, 2, 0, 0x1000, 1, 4, 0x5000], [0, 0x10, 0x20, 0x30, 0x40, 0x50]),
        (8, "packed", [0, 2, 0, 10, 1, 4, 50], [0, 10, 20, 30, 40, 50]),
        # the indirect segment repeats the second segment, which stands 8 bytes (4 words) into the table
        (16, "words", [0, 2, 0, 0x1000, 1, 2, 0x3000, 2, 1, 8, 0], [0, 0x10, 0x20, 0x30, 0x30, 0x30]),
        (8, "packed", [0, 2, 0, 10, 1, 2, 30, 2, 1, 4, 0, 0, 0], [0, 10, 20, 30, 30, 30]),
    ],
)
def test_a_segmented_palette_is_expanded(tmp_path, bits, storage, code, expanded):
    dataset = palette_dataset(range(6), [(6, code)] * 3, bits=bits, storage=storage, segmented=True)
    assert grey(save(dataset, tmp_path / "p.dcm")) == expanded


@given(st.lists(st.integers(0, 300), max_size=40), st.sampled_from([8, 16]))
def test_no_segmented_table_does_anything_but_expand_or_be_refused(code, bits):
    with suppress(InputError):  # any other error fails the test
        expand_segments(code, bits, "the table")


def test_palettes_that_are_incomplete_or_contradictory_are_refused(tmp_path):
    good = [(2, [1, 2])] * 3
    path = tmp_path / "p.dcm"
    dataset = palette_dataset([0], good, bits=8)
    del dataset.GreenPaletteColorLookupTableData
    with pytest.raises(InputError, match="neither GreenPaletteColorLookupTableData nor Segmented"):
        read_image(save(dataset, path))
    with pytest.raises(InputError, match="RedPaletteColorLookupTableData has 3 entries where its descriptor says 2"):
        read_image(save(palette_dataset([0], [(2, [1, 2, 3])] * 3, bits=16), path))
    with pytest.raises(InputError, match="has the entry 300 where its descriptor says 8 bits"):
        read_image(save(palette_dataset([0], [(2, [1, 300])] * 3, bits=8), path))
    with pytest.raises(InputError, match="says 4 bits an entry"):
        read_image(save(palette_dataset([0], good, bits=4), path))


def test_what_would_colour_a_grey_image_is_refused(tmp_path):
    dataset = dataset_of(GREY)
    dataset.add_new("RedPaletteColorLookupTableDescriptor", "US", [2, 0, 8])
    dataset.PixelPresentation = "COLOR"
    with pytest.raises(InputError, match="PixelPresentation asks for a supplemental palette"):
        read_image(save(dataset, tmp_path / "a.dcm"))
    enhanced = save(dataset_of(GREY), tmp_path / "b.dcm", EnhancedPaletteColorLookupTableSequence=Sequence([Dataset()]))
    with pytest.raises(InputError, match="EnhancedPaletteColorLookupTableSequence"):
        read_image(enhanced)


# --- colours ----------------------------------------------------------------------------------------------------------


def colour_dataset(pixels, photometric="RGB", *, allocated=8, stored=None, planar=0):
    """`pixels`: [h, w, 3]."""
    dataset = dataset_of(Case(frames=((0,),)))
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, photometric, planar
    dataset.BitsAllocated, dataset.BitsStored = allocated, stored or allocated
    dataset.HighBit = dataset.BitsStored - 1
    ordered = pixels.transpose(2, 0, 1) if planar else pixels
    data = ordered.astype(f"<u{allocated // 8}").tobytes()
    dataset.add_new("PixelData", "OW" if allocated > 8 else "OB", data + b"\0" * (len(data) % 2))
    return dataset


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize(("allocated", "stored"), [(8, 8), (16, 16), (16, 12), (16, 8), (32, 32)])
def test_colours_of_any_depth_keep_their_upper_eight_bits(tmp_path, planar, allocated, stored):
    eight = np.random.default_rng(0).integers(0, 256, (3, 5, 3))
    stored_values = eight << (stored - 8)
    path = save(colour_dataset(stored_values, allocated=allocated, stored=stored, planar=planar), tmp_path / "c.dcm")
    assert np.array_equal(read_image(path), eight)


@pytest.mark.parametrize("photometric", ["YBR_PARTIAL_420", "YBR_ICT", "CMYK", "HSV"])
def test_colours_that_nothing_converts_are_refused_by_name(tmp_path, photometric):
    path = save(colour_dataset(np.zeros((2, 2, 3)), photometric), tmp_path / "c.dcm")
    with pytest.raises(InputError, match=f"PhotometricInterpretation {photometric}"):
        read_image(path)


def test_colours_that_need_more_bits_than_are_stored_are_refused(tmp_path):
    dataset = colour_dataset(np.full((64, 64, 3), 4000), allocated=16, stored=12)
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    dataset.BitsStored, dataset.HighBit = 8, 7
    with pytest.raises(InputError, match="colours do not fit into BitsStored 8"):
        read_image(save(dataset, tmp_path / "j2k.dcm"))


# --- other samples ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keyword", "code"), [("FloatPixelData", "f"), ("DoubleFloatPixelData", "d")])
def test_floating_point_pixels_are_windowed_or_stretched(tmp_path, keyword, code):
    dataset = dataset_of(GREY)
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.BitsAllocated = 32 if code == "f" else 64
    setattr(dataset, keyword, struct.pack(f"<4{code}", -1.0, 0.0, 0.5, 1.0))
    assert grey(save(dataset, tmp_path / "f.dcm")) == [0, 128, 191, 255]
    windowed = save(dataset, tmp_path / "w.dcm", WindowCenter=0.5, WindowWidth=1, VOILUTFunction="LINEAR_EXACT")
    assert grey(windowed) == [0, 0, 128, 255]
    setattr(dataset, keyword, struct.pack(f"<4{code}", float("nan"), 0.0, 0.5, 1.0))
    with pytest.raises(InputError, match="not numbers"):
        read_image(save(dataset, tmp_path / "n.dcm"))


def test_single_bits_are_black_and_white(tmp_path):
    dataset = dataset_of(Case(frames=((0,) * 8,)))
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 0
    dataset.add_new("PixelData", "OB", bytes([0b10100101, 0]))
    assert grey(save(dataset, tmp_path / "bits.dcm")) == [255, 0, 255, 0, 0, 255, 0, 255]


@pytest.mark.parametrize("keyword", ["XRayAngiographicImageStorage", "XRayRadiofluoroscopicImageStorage"])
def test_a_table_that_leads_back_to_the_beam_is_not_for_display(tmp_path, keyword):
    dataset = dataset_of(Case(frames=((0, 1, 2),), modality=Table(0, (255, 0, 0), 8)))
    assert grey(save(dataset, tmp_path / "other.dcm")) == [255, 0, 0]
    uid = getattr(pydicom.uid, keyword)
    dataset.file_meta.MediaStorageSOPClassUID = uid
    assert grey(save(dataset, tmp_path / "xa.dcm", SOPClassUID=uid)) == [0, 128, 255]


def test_run_lengths_keep_their_words(tmp_path):
    case = Case(frames=((0, 100, 4095),), stored=12, high=11, junk=0xF000)
    dataset = dataset_of(case)
    dataset.compress(RLELossless, generate_instance_uid=False)
    assert grey(save(dataset, tmp_path / "rle.dcm")) == [0, 6, 255]


# --- refusals, and what decodes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"slope": 2}, r"of RescaleSlope \(2.0\) and RescaleIntercept \(None\) it has only one"),
        ({"slope": 0, "intercept": 1}, "RescaleSlope is 0"),
        ({"centre": 1, "width": 0}, "WindowWidth is 0; of a LINEAR window it must be at least 1"),
        ({"centre": 1, "width": 0.5}, "must be at least 1"),
        ({"centre": 1, "width": -3, "function": "SIGMOID"}, "of a SIGMOID window it must be more than 0"),
        ({"centre": 1, "width": 3, "function": "LOG"}, "VOILUTFunction 'LOG'"),
        ({"shape": "LIN OD"}, "PresentationLUTShape 'LIN OD'"),
        ({"voi": Table(0, (1, 2), 7)}, "LUTDescriptor says 7 bits"),
        ({"modality": Table(0, (1, 300), 8)}, "entry 300 where its descriptor says 8 bits"),
    ],
)
def test_what_the_rules_do_not_render_is_refused_by_name(tmp_path, fields, reason):
    path = tmp_path / "bad.dcm"
    write(Case(frames=((0, 1),), **fields), path)
    with pytest.raises(InputError, match=reason) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_words_that_contradict_themselves_are_refused(tmp_path):
    path = save(dataset_of(GREY), tmp_path / "a.dcm", BitsStored=12, HighBit=3)
    with pytest.raises(InputError, match="HighBit 3 contradicts BitsStored 12"):
        read_image(path)
    sequence = Sequence([Dataset()])
    short = save(dataset_of(Case(frames=((0,), (1,)))), tmp_path / "b.dcm", PerFrameFunctionalGroupsSequence=sequence)
    with pytest.raises(InputError, match="PerFrameFunctionalGroupsSequence has 1 items, and none for frame 2"):
        read_image(short, frame=2)
    with pytest.raises(InputError, match="PresentationLUTSequence"):
        read_image(save(dataset_of(GREY), tmp_path / "c.dcm", PresentationLUTSequence=sequence))


def test_a_video_names_its_transfer_syntax(tmp_path):
    dataset = colour_dataset(np.zeros((2, 2, 3)), "RGB")
    dataset.file_meta.TransferSyntaxUID = MPEG2MPML
    dataset.PixelData = pydicom.encaps.encapsulate([b"\0\0"])
    with pytest.raises(InputError, match="MPEG2 Main Profile"):
        read_image(save(dataset, tmp_path / "video.dcm"))


def test_without_the_extra_jpeg_ls_names_it_and_its_transfer_syntax(tmp_path, monkeypatch):
    from pydicom.pixels.decoders.base import get_decoder

    monkeypatch.setattr(get_decoder(JPEGLSLossless), "_available", {})
    dataset = dataset_of(GREY)
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.PixelData = pydicom.encaps.encapsulate([b"\0\0"])
    with pytest.raises(MissingExtraError, match=r"JPEG-LS Lossless.*pfedge\[dicom-lossless\]"):
        read_image(save(dataset, tmp_path / "ls.dcm"))


@pytest.mark.parametrize(
    ("decoder", "compressed", "plain"),
    [
        ("jpeg_ls", "MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("gdcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm"),
    ],
)
def test_jpeg_lossless_and_jpeg_ls_equal_their_uncompressed_twins(decoder, compressed, plain):
    pytest.importorskip(decoder)
    one, other = (read_image(Path(get_testdata_file(name))) for name in (compressed, plain))
    assert np.array_equal(one, other)


@pytest.mark.parametrize(("tool", "option"), [("dcmcjpeg", "+el"), ("dcmcjpeg", "+e1"), ("dcmcjpls", "+el")])
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "examples_rgb_color.dcm", "examples_palette.dcm"])
def test_what_dcmtk_compresses_without_loss_is_seen_as_before(tmp_path, tool, option, name):
    """CT_small and MR_small are signed words: neither way of compression knows of signs."""
    pytest.importorskip("gdcm" if tool == "dcmcjpeg" else "jpeg_ls")
    if shutil.which(tool) is None:
        pytest.skip("dcmtk is not installed (apt-get install dcmtk)")
    original, compressed = Path(get_testdata_file(name)), tmp_path / "compressed.dcm"
    subprocess.run([tool, option, original, compressed], check=True, capture_output=True)
    assert np.array_equal(read_image(compressed), read_image(original))


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_frame_is_one_error_and_nothing_on_stderr(tmp_path, capfd, cut):
    pytest.importorskip("gdcm")
    dataset = pydicom.dcmread(get_testdata_file("SC_rgb_jpeg_gdcm.dcm"))
    (frame,) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
    half = len(frame) // 2
    dataset.PixelData = pydicom.encaps.encapsulate([frame[:half] if cut else frame[:half] + b"\x55" * half])
    dataset.save_as(tmp_path / "cut.dcm")
    with pytest.raises(InputError, match=r"cut\.dcm"):
        read_image(tmp_path / "cut.dcm")
    assert capfd.readouterr() == ("", "")


def test_no_warning_of_a_library_is_seen_or_ends_the_run(tmp_path):
    """Values that pydicom warns of: a number that is too long, a code that is not allowed."""
    dataset = dataset_of(GREY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.PatientSex = "neither of the codes that are allowed"
        dataset.add_new("WindowCenter", "DS", "150.00000000000000001")
        dataset.add_new("WindowWidth", "DS", "300.00000000000000001")
        path = save(dataset, tmp_path / "odd.dcm")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert grey(path)[0] == 0
        assert len(list(read_frames(path))) == 1
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        read_image(path)
    assert not seen


def test_frames_are_counted_from_one_and_read_one_by_one(tmp_path):
    path = save(dataset_of(Case(frames=((0, 1), (1, 0)))), tmp_path / "two.dcm")
    with pytest.raises(InputError, match=r"two\.dcm has 2 frames: predict with --frame N \(1 to 2\)"):
        read_image(path)
    assert (grey(path, 1), grey(path, 2)) == ([0, 255], [255, 0])
    assert [frame[0, :, 0].tolist() for frame in read_frames(path)] == [[0, 255], [255, 0]]
    for frame in (0, 3, -1):
        with pytest.raises(InputError, match=f"has no frame {frame}: it has 2"):
            read_image(path, frame=frame)


def test_a_dicom_of_more_pixels_than_allowed_is_refused_before_it_is_decoded(tmp_path):
    path = save(dataset_of(GREY), tmp_path / "a.dcm")
    with pytest.raises(InputError, match="4 x 1 pixels exceeds limit of 3; --max-pixels 4 allows it"):
        read_image(path, max_pixels=3)
    assert read_image(path, max_pixels=4).shape == (1, 4, 3)
