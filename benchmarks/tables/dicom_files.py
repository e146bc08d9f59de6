"""Render pydicom's own test files, compare each with dcmtk, and write the table docs/dicom-files.md.

    python benchmarks/tables/dicom_files.py

Needs the extras `dicom` and `dicom-lossless`, and dcmtk (Debian's `dcmtk`). Nothing is downloaded: only the files that
pydicom's wheel holds are looked at.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from pfedge_runtime.errors import PfedgeError
from pfedge_runtime.inputs import read_frames

TABLE = Path(__file__).parents[2] / "docs" / "dicom-files.md"
FILES = Path(pydicom.__file__).parent / "data" / "test_files"
TOLERATED = 1  # grey levels: each renderer rounds in its own way

# Differences that are looked into, and are not ours to follow.
BIG_ENDIAN = "dcmtk swaps each half of a 32-bit word; rendered as its little-endian twin is"
EXPLAINED = {"rtdose_expb.dcm": BIG_ENDIAN, "rtdose_expb_1frame.dcm": BIG_ENDIAN}
NO_IMAGE = "it holds no image"
HEAD = """# DICOM: pydicom's own test files, compared with dcmtk

Made by `python benchmarks/tables/dicom_files.py` with pydicom {pydicom}, its test files, and dcmtk {dcmtk}.

{images} files hold an image. {compared} are rendered by both: {spread}, and {explained} by what a remark explains.
{alone} are rendered, and not by dcmtk. {refused} are refused. {others} more hold no image, and are refused as such. The
difference is the largest of any pixel of any frame, in grey levels of 255; each renderer rounds in its own way.

Asked of dcmtk: the first VOI LUT, else the first window, else the image's own range (`+Wl 1`, `+Wi 1`, `+Wm`), without
overlays. It does not decode JPEG 2000: those files were decompressed before, with Pillow's decoder, which is not the
one that pfedge uses.

| file | transfer syntax, colours | | difference | remark |
|---|---|---|---|---|"""


@dataclass(frozen=True)
class Row:
    """What became of one file.

    Attributes:
        name: below pydicom's folder of test files.
        holds: transfer syntax and photometric interpretation.
        outcome: `rendered`, or why not.
        difference: the largest, in grey levels, over all frames; None where there is nothing to compare with.
        remark: why there is nothing to compare with, or what explains the difference.
    """

    name: str
    holds: str
    outcome: str
    difference: int | None
    remark: str


def dicom_files(folder: Path = FILES) -> list[Path]:
    """Return pydicom's test files that are DICOM files, with or without a preamble."""
    return sorted(
        path for path in folder.rglob("*") if path.suffix in {".dcm", ""} and path.is_file() and path.name != "README"
    )


def compare(path: Path) -> Row:
    """Render a file and compare it with dcmtk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    holds = f"{syntax.name if syntax else 'no transfer syntax'}, {dataset.get('PhotometricInterpretation', 'no image')}"
    name = str(path.relative_to(FILES))
    try:
        ours = list(read_frames(path))
    except PfedgeError as error:
        return Row(name, holds, f"refused: {str(error).split(f'{path}', 1)[-1].lstrip(': ')}", None, "")
    try:
        theirs = list(dcmtk_frames(path, dataset, len(ours)))
    except ValueError as error:
        return Row(name, holds, "rendered", None, str(error))
    difference = max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(ours, theirs, strict=True))
    return Row(name, holds, "rendered", difference, EXPLAINED.get(name, ""))


def dcmtk_frames(path: Path, dataset: pydicom.Dataset, frames: int) -> Iterator[np.ndarray]:
    """Yield what dcmtk makes of each frame, uint8 `[h, w, 3]`.

    Raises:
        ValueError: it cannot read the file.
    """
    name = "dcml2pnm" if "JPEG-LS" in dataset.file_meta.TransferSyntaxUID.name else "dcmj2pnm"
    options = ["--no-overlays"]
    if dataset.PhotometricInterpretation.startswith("MONOCHROME"):
        windowed = all(str(dataset.get(name) or "") != "" for name in ("WindowCenter", "WindowWidth"))
        options += ["+Wl", "1"] if dataset.get("VOILUTSequence") else ["+Wi", "1"] if windowed else ["+Wm"]
    with tempfile.TemporaryDirectory() as folder:
        if "2000" in dataset.file_meta.TransferSyntaxUID.name:
            try:
                dataset.decompress(decoding_plugin="pillow")
            except (RuntimeError, ValueError) as error:
                message = "Pillow cannot decompress it"
                raise ValueError(message) from error
            path = Path(folder) / "decompressed.dcm"
            dataset.save_as(path)
        for frame in range(frames):
            out = Path(folder) / "frame.pnm"
            command = [tool(name), *options, "+F", str(frame + 1), "+op", str(path), str(out)]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode or not out.exists():
                lines = [line for line in run.stderr.splitlines() if line.startswith(("E:", "F:"))] or [
                    "nothing written"
                ]
                raise ValueError(f"dcmtk: {lines[-1][2:].strip()}".replace(str(path), path.name))
            yield np.asarray(Image.open(out).convert("RGB")).astype(int)


def tool(name: str) -> str:
    """Return the path of one of dcmtk's tools; it says what to install where there is none."""
    return shutil.which(name) or sys.exit(f"{name} is missing: apt-get install dcmtk")


def dcmtk_version() -> str:
    """Return dcmtk's version."""
    run = subprocess.run([tool("dcmj2pnm"), "--version"], capture_output=True, text=True, check=True)
    return run.stdout.split()[2].lstrip("v")


def as_markdown(rows: list[Row]) -> str:
    """Return the whole page."""
    images = [row for row in rows if NO_IMAGE not in row.outcome]
    kinds = Counter(
        "refused" if row.outcome != "rendered" else "alone" if row.difference is None else "compared" for row in images
    )
    differences = Counter(row.difference for row in images if row.difference is not None and not row.remark)
    head = HEAD.format(
        pydicom=importlib.metadata.version("pydicom"),
        dcmtk=dcmtk_version(),
        images=len(images),
        compared=kinds["compared"],
        spread=", ".join(f"{count} differ by {difference}" for difference, count in sorted(differences.items())),
        explained=sum(bool(row.remark) and row.difference is not None for row in images),
        alone=kinds["alone"],
        refused=kinds["refused"],
        others=len(rows) - len(images),
    )
    lines = [head]
    for row in images:
        difference = "" if row.difference is None else str(row.difference)
        outcome = row.outcome.replace("|", "\\|")
        lines.append(f"| `{row.name}` | {row.holds} | {outcome} | {difference} | {row.remark} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    rows = [compare(path) for path in dicom_files()]
    TABLE.write_text(as_markdown(rows), encoding="utf-8")
    far = [row for row in rows if row.difference is not None and row.difference > TOLERATED and not row.remark]
    for row in far:
        print(f"{row.name}: {row.difference} grey levels", file=sys.stderr)
    print(f"{TABLE}: {len(rows)} files")
    sys.exit(bool(far))


if __name__ == "__main__":
    main()
