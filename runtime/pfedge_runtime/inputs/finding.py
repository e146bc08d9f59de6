"""What is data: which files below a folder are read, and which are left out, and why.

    found = find_files(Path("scans"), "image")
    found.files                                # sorted; read_image reads each, or says what is wrong with it
    found.left_out.describe()                  # "3 files left out: 2 .txt, 1 .heic (not readable here)"

Content decides, not the name. A file that is named like data but does not hold any is damaged data: it is kept, and
reading it fails by name. What other programs leave in folders, `.DS_Store` and `.ipynb_checkpoints`, is never data.
Training, evaluation and prediction share this rule. A sweep for forgotten rows does not: it looks into every file.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, features

from pfedge_runtime.errors import InputError

HEAD = 1024  # bytes of a file that tell what it holds; a DICOM file begins after 128, and names its class after that
FOREIGN = {
    "$recycle.bin", "#recycle", "@eadir", "@tmp", "__macosx", "__pycache__", "desktop.ini", "dicomdir", "ehthumbs.db",
    "lost+found", "system volume information", "thumbs.db",
}  # fmt: skip
UNFINISHED = (".crdownload", ".download", ".filepart", ".opdownload", ".part", ".partial", ".swp", ".temp", ".tmp")
BACKUP = re.compile(r".*~|#.*#", re.DOTALL)  # of editors
DICOM_DIRECTORY = re.compile(rb"1\.2\.840\.10008\.1\.3\.10[^.\d]")
MAGIC = {
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM.{8}..\0\0[\x0c-\x7c]\0{3}", re.DOTALL),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "WebP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "AVIF": re.compile(rb".{4}ftyp(?:avi[fs])", re.DOTALL),
    "HEIC": re.compile(rb".{4}ftyp(?:hei[cfmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL),
    "JPEG 2000": re.compile(rb"\0{3}\x0cjP {2}\r\n\x87\n|\xff\x4f\xff\x51"),
    "JPEG XL": re.compile(rb"\xff\x0a|\0{3}\x0cJXL \r\n\x87\n"),
    "PNM": re.compile(rb"P[1-6]\s(?:\s|#[^\n]*\n)*\d+\s(?:\s|#[^\n]*\n)*\d+\s"),
    "DICOM": re.compile(rb".{128}DICM", re.DOTALL),
    "WAV": re.compile(rb"(?:RIFF|RF64).{4}WAVE", re.DOTALL),
    "Ogg": re.compile(rb"OggS"),
    "FLAC": re.compile(rb"fLaC"),
    "MP3": re.compile(rb"ID3[\x02-\x04]|\xff[\xf2\xf3\xfa\xfb]"),
    "AIFF": re.compile(rb"FORM.{4}AIF[FC]", re.DOTALL),
}
SOUNDS = frozenset({"WAV", "Ogg", "FLAC"})
UNREAD_SOUNDS = frozenset({"MP3", "AIFF"})
UNREAD = frozenset({"HEIC", "JPEG XL"}) | UNREAD_SOUNDS
PILLOW_ASKS = {"AVIF": "avif", "WebP": "webp", "JPEG 2000": "jpg_2000", "JPEG": "jpg"}
NAMED_LIKE = {
    "image": frozenset(
        {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".dcm", ".dicom",
         ".jp2", ".pgm", ".ppm", ".pnm"}
    ),
    "audio": frozenset({".wav", ".wave", ".ogg", ".oga", ".flac"}),
}  # fmt: skip


@dataclass(frozen=True)
class LeftOut:
    """What was left out of a folder.

    Attributes:
        kinds: how a kind of file is called -> how many of them there are.
        foreign: names of files and folders of other programs; a folder counts once.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    foreign: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: LeftOut) -> LeftOut:
        """Return what either left out."""
        return LeftOut(self.kinds + other.kinds, self.foreign + other.foreign)

    def describe(self) -> str:
        """Return one line; it is empty where nothing was left out.

        >>> LeftOut(Counter({".txt": 2}), Counter([".DS_Store"])).describe()
        '3 files left out: 2 .txt, 1 of other programs (.DS_Store)'
        """
        total = self.kinds.total() + self.foreign.total()
        if not total:
            return ""
        parts = [f"{count} {kind}" for kind, count in sorted(self.kinds.items())]
        if self.foreign:
            parts.append(f"{self.foreign.total()} of other programs ({', '.join(sorted(self.foreign))})")
        return f"{total} {'file' if total == 1 else 'files'} left out: {', '.join(parts)}"


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        files: those that are read, sorted.
        left_out: the others.
    """

    files: list[Path]
    left_out: LeftOut = field(default_factory=LeftOut)


def is_foreign(name: str) -> bool:
    """Whether a file of this name was left by another program, whatever it holds.

    >>> [is_foreign(name) for name in (".ipynb_checkpoints", "._x.png", "Thumbs.db", "x.png~", "x.png.part", "x.png")]
    [True, True, True, True, True, False]
    """
    small = name.casefold()
    return is_foreign_folder(name) or small.endswith(UNFINISHED) or bool(BACKUP.fullmatch(name))


def is_foreign_folder(name: str) -> bool:
    """Whether a folder of this name is another program's: a class may be called `pump.part`, but not `.git`."""
    return name.startswith(".") or name.casefold() in FOREIGN


def content_of(path: Path) -> str | None:
    """Return what a file holds by its first bytes, a key of `MAGIC`; None where no format is recognised.

    Raises:
        OSError: it cannot be read.
    """
    # a pipe in a folder of images would wait for ever: only what is a plain file is opened
    if not stat.S_ISREG(path.stat().st_mode):
        return None
    with path.open("rb") as file:
        head = file.read(HEAD)
    return next((name for name, magic in MAGIC.items() if magic.match(head) and not _is_directory(name, head)), None)


def kind_of(path: Path) -> str | None:
    """Return `image` or `audio`, by content; None where the file holds neither, or cannot be read."""
    try:
        content = content_of(path)
    except OSError:
        return None
    if content is None:
        return None
    return "audio" if content in SOUNDS | UNREAD_SOUNDS else "image"


def find_files(path: Path, kind: str) -> Found:
    """Return the files at `path`: itself if it is a file, whatever it is called, else all data below it.

    Args:
        path: a file or folder; links are followed, each folder is entered once.
        kind: `image` or `audio`.

    Raises:
        InputError: nothing is there, a folder cannot be listed, or it holds no such file.
    """
    if path.is_dir():
        found = search(path, kind)
        if not found.files:
            said = found.left_out.describe()
            message = f"nothing to read below {path}: it holds no {kind}{f' ({said})' if said else ''}"
            raise InputError(message)
        return found
    if not path.exists() and not path.is_symlink():
        message = f"no such file or folder: {path}"
        raise InputError(message)
    return Found([path])


def search(folder: Path, kind: str) -> Found:
    """Return all data below a folder, perhaps none.

    Raises:
        InputError: a folder cannot be listed.
    """
    files: list[Path] = []
    left_out = LeftOut()
    for file in _walk(folder, left_out):
        reason = _why_not(file, kind)
        if reason is None:
            files.append(file)
        else:
            left_out.kinds[reason] += 1
    return Found(sorted(files), left_out)


def search_beside(folder: Path, kind: str, read: Collection[str] = ()) -> LeftOut:
    """Return what lies in a folder beside its folders, none of which is data there; files called `read` are not it."""
    left_out = LeftOut()
    for entry in folder.iterdir():
        if entry.is_dir():
            left_out.foreign.update([entry.name] if is_foreign_folder(entry.name) else [])
        elif is_foreign(entry.name):
            left_out.foreign[entry.name] += 1
        elif entry.name not in read:
            left_out.kinds[_why_not(entry, kind) or "beside the class folders"] += 1
    return left_out


def first_kind(folder: Path) -> str | None:
    """Return whether the first data below a folder is an `image` or `audio`; None where it holds neither."""
    for file in _walk(folder, LeftOut()):
        named = (kind for kind, suffixes in NAMED_LIKE.items() if file.suffix.lower() in suffixes)
        kind = kind_of(file) or next(named, None)
        if kind is not None:
            return kind
    return None


def _walk(folder: Path, left_out: LeftOut) -> Iterator[Path]:
    """Yield what is no folder; count what other programs left, and links back to a folder that was seen."""

    def refuse(error: OSError) -> None:
        message = f"cannot look into {error.filename}: {error.strerror}"
        raise InputError(message) from error

    seen = {_identity(folder)}
    for name, inner, names in os.walk(folder, onerror=refuse, followlinks=True):
        parent = Path(name)
        left_out.foreign.update(one for one in inner if is_foreign_folder(one))
        left_out.foreign.update(one for one in names if is_foreign(one))
        entered = []
        for one in sorted(inner):
            if is_foreign_folder(one):
                continue
            identity = _identity(parent / one)
            if identity in seen:
                left_out.kinds["link to a folder that is read already"] += 1
                continue
            seen.add(identity)
            entered.append(one)
        inner[:] = entered
        yield from (parent / one for one in names if not is_foreign(one))


def _identity(folder: Path) -> tuple[int, int]:
    about = folder.stat()
    return about.st_dev, about.st_ino


def _why_not(file: Path, kind: str) -> str | None:
    """Return how a file that is left out is called; None where it is data, or damaged data that reading names."""
    suffix = file.suffix.lower()
    named = suffix in NAMED_LIKE[kind]
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            return "not a file"
        content = content_of(file)
    except OSError as error:
        return "broken link" if isinstance(error, FileNotFoundError) and not named else None
    if content is not None and not is_readable(content):
        return f"{suffix or content} (not readable here)"
    if named or (content is not None and (content in SOUNDS) == (kind == "audio")):
        return None
    if content is None:
        return suffix or "without a suffix"
    return f"{suffix or content} ({'a sound' if content in SOUNDS else 'an image'})"


def is_readable(content: str) -> bool:
    """Whether files that hold this, a key of `MAGIC`, can be decoded on this machine."""
    if content in UNREAD:
        return content == "HEIC" and "HEIF" in Image.OPEN
    return content not in PILLOW_ASKS or bool(features.check(PILLOW_ASKS[content]))


def _is_directory(content: str, head: bytes) -> bool:
    """Whether a file's first bytes are those of a DICOMDIR, a table of contents in DICOM's own format."""
    return content == "DICOM" and DICOM_DIRECTORY.search(head) is not None
