"""Real files: those that pydicom's wheel holds, each compared with dcmtk, which shares no code with pfedge."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "tables" / "dicom_files.py"
spec = importlib.util.spec_from_file_location("dicom_files", SCRIPT)
dicom_files = sys.modules["dicom_files"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(dicom_files)

DICOMDIR_STUBS = "TINY_ALPHA"  # fifty files without an image


@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="dcmtk is not installed (apt-get install dcmtk)")
@pytest.mark.parametrize(
    "path",
    [path for path in dicom_files.dicom_files() if DICOMDIR_STUBS not in str(path)],
    ids=lambda path: str(path.relative_to(dicom_files.FILES)),
)
def test_a_real_file_is_shown_as_dcmtk_shows_it_or_refused_in_one_line(path):
    row = dicom_files.compare(path)
    assert row.outcome == "rendered" or (row.outcome.startswith("refused: ") and "\n" not in row.outcome)
    assert row.difference is None or row.difference <= dicom_files.TOLERATED or row.remark


def test_big_endian_words_of_32_bits_are_read_as_their_little_endian_twins():
    from pfedge_runtime.inputs import read_frames

    little, big = (list(read_frames(dicom_files.FILES / name)) for name in ("rtdose.dcm", "rtdose_expb.dcm"))
    assert len(little) == len(big) == 15
    assert all((one == other).all() for one, other in zip(little, big, strict=True))
