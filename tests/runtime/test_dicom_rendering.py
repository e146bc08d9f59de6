"""DICOM as the standard's formulas say, over the whole space of what a grey file may hold."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from pfedge_runtime.inputs import read_image
from support.dicom_reference import Case, Table, expected, write


def tables(*, lowest: int, highest: int, bits) -> st.SearchStrategy[Table]:
    def of(width: int) -> st.SearchStrategy[Table]:
        storages = st.sampled_from(["words", "bytes", "packed"] if width == 8 else ["words", "bytes"])
        entries = st.lists(st.integers(0, 2**width - 1), min_size=3, max_size=40).map(tuple)
        return st.builds(
            Table, first=st.integers(lowest, highest), entries=entries, bits=st.just(width), storage=storages
        )

    return bits.flatmap(of)


@st.composite
def cases(draw, *, for_dcmtk: bool = False) -> Case:
    """Any case, or one that dcmtk 3.6.7 has.

    It has no functional groups, no LINEAR_EXACT, no padding and no words of 32 bits. It cuts modality values to whole
    numbers, and takes the range of all frames for that of each.
    """
    allocated = draw(st.sampled_from([8, 16] if for_dcmtk else [8, 16, 16, 16, 32]))
    stored = draw(st.integers(2, allocated))
    high = draw(st.integers(stored - 1, allocated - 1)) if draw(st.booleans()) else stored - 1
    signed = draw(st.booleans())
    low, top = (-(2 ** (stored - 1)), 2 ** (stored - 1) - 1) if signed else (0, 2**stored - 1)
    near = st.integers(max(low, -300), min(top, 300)) | st.integers(low, top)
    columns = draw(st.integers(1, 12))
    frame = st.lists(near, min_size=columns, max_size=columns).map(tuple)
    groups = draw(st.sampled_from([None] if for_dcmtk else [None, None, "shared", "frame"]))
    fields = {}
    modality = draw(st.sampled_from(["none", "rescale", "rescale", "lut", "both", "empty"]))
    if modality in {"rescale", "both"}:
        fields["slope"] = draw(st.sampled_from([1, 2, -1, 3] if for_dcmtk else [1, 0.5, 2, -1, 0.125, 3.75]))
        fields["intercept"] = draw(st.sampled_from([0, -1024, 100, -7] if for_dcmtk else [0, -1024, 100.5, -7]))
    if modality == "empty":
        fields |= {"slope": "", "intercept": ""}
    if modality in {"lut", "both"}:
        ends = (-200, 200) if signed else (0, 400)
        fields["modality"] = draw(tables(lowest=ends[0], highest=ends[1], bits=st.sampled_from([8, 16])))
    voi = draw(st.sampled_from(["none", "window", "window", "lut", "both", "empty", "partial"]))
    if voi in {"window", "both"}:
        functions = [None, "LINEAR", "SIGMOID"] if for_dcmtk else [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"]
        fields["function"] = draw(st.sampled_from(functions))
        fields["centre"] = draw(st.sampled_from([40, 0, -600, 127.5, (50, 300)]))
        fields["width"] = draw(st.sampled_from([1, 2, 80, 400.5, 3000, (350, 1500)]))
    if voi == "empty":
        fields |= {"centre": "", "width": ""}
    if voi == "partial":
        fields |= draw(st.sampled_from([{"centre": 40}, {"width": 80}, {"centre": 40, "width": ""}]))
    if voi in {"lut", "both"}:
        slope, intercept = fields.get("slope") or 1, fields.get("intercept") or 0
        lowest = 0 if "modality" in fields else min(low * slope, top * slope) + intercept
        ends = (0, 400) if lowest >= 0 else (-300, 300)  # the standard reads a table's first value by its input's sign
        fields["voi"] = draw(tables(lowest=ends[0], highest=ends[1], bits=st.sampled_from([8, 10, 12, 16])))
    if not for_dcmtk and stored <= 16 and draw(st.booleans()):
        fields["padding"] = draw(near)
        fields["padding_limit"] = draw(st.none() | near)
    return Case(
        frames=tuple(draw(st.lists(frame, min_size=1, max_size=1 if for_dcmtk else 3))),
        allocated=allocated,
        stored=stored,
        high=high,
        signed=signed,
        junk=draw(st.sampled_from([0, 0xFFFFFFFF, 0x5A5A5A5A])),
        photometric=draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"])),
        shape=draw(st.sampled_from([None, None, "IDENTITY", "INVERSE"])),
        groups=groups,
        syntax=draw(st.sampled_from(["explicit", "implicit", "big"])),
        **fields,
    )


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(Case(frames=((0, 2, 4),), voi=Table(0, (0, 2048, 4095), 12), centre=40, width=80))
@example(Case(frames=((-2000, 0, 100),), signed=True, padding=-2000))
@example(Case(frames=((2, 3, 9),), slope=2, intercept=-10, centre=0, width=10, groups="frame"))
@example(Case(frames=((1, 2, 3),), centre="", width=""))
@given(case=cases())
def test_every_grey_file_is_shown_as_the_formulas_say(tmp_path, case):
    path = tmp_path / "case.dcm"
    write(case, path)
    for frame in range(len(case.frames)):
        seen = read_image(path, frame=frame + 1)
        assert (seen == seen[:, :, :1]).all()
        assert np.abs(seen[0, :, 0] - expected(case, frame)).max() <= 1


@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="dcmtk is not installed (apt-get install dcmtk)")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(for_dcmtk=True))
def test_dcmtk_shows_the_same(tmp_path, case):
    assume(len(set(expected(case, 0))) > 1)  # of one value it makes anything
    path, out = tmp_path / "case.dcm", tmp_path / "case.pgm"
    write(case, path)
    windowed = "" not in {case.centre, case.width} and None not in {case.centre, case.width}
    look = ["+Wl", "1"] if case.voi else ["+Wi", "1"] if windowed else ["+Wm"]
    subprocess.run(["dcmj2pnm", "--no-overlays", *look, "+op", path, out], check=True, capture_output=True)
    theirs = np.asarray(Image.open(out).convert("L")).astype(int)
    assert np.abs(read_image(path, frame=1)[:, :, 0] - theirs).max() <= 1
