"""Looking into archives: zip, tar, gzip, bzip2, xz, and archives in them; nothing is ever unpacked to a disk.

    with path.open("rb") as file:
        problems = look_into(file, look)       # look(name, source) is shown each member

What is read is bounded, so that no archive can keep a device busy for ever.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Protocol

LIMIT = 4 << 30  # bytes that are decompressed of one archive
NESTED_ZIP = 256 << 20  # bytes of a zip in an archive, which must be held in memory
LAYERS = 4  # a tar.gz in a tar.gz
HEAD = 512  # a tar file is known by its bytes 257 to 261
STARTS = {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}


class Readable(Protocol):
    """What gives bytes, in order."""

    def read(self, size: int, /) -> bytes | None:
        """Return at most `size` bytes; none at the end."""


Look = Callable[[str, Readable], None]


class LimitError(Exception):
    """An archive holds more than is looked at."""


@dataclass(frozen=True)
class Problem:
    """What could not be looked into: a member (empty: the archive), and why."""

    member: str
    why: str


def archive_kind(head: bytes) -> str:
    """Return `zip`, `tar`, `gzip`, `bzip2` or `xz`, as the first 512 bytes say; empty for anything else."""
    if head[257:262] == b"ustar":
        return "tar"
    return next((kind for start, kind in STARTS.items() if head.startswith(start)), "")


def look_into(file: IO[bytes], look: Look) -> list[Problem]:
    """Show each member of an archive to `look`, and return what could not be looked into.

    Args:
        file: the archive, at its beginning; it can be sought in.
        look: takes a member's name (`inner.zip > name` in an archive in the archive) and its bytes.
    """
    reader = _Reader(look)
    kind = archive_kind(file.read(HEAD))
    file.seek(0)
    try:
        reader.archive("", kind, file, 0)
    except LimitError:
        reader.problems.append(Problem("", f"it holds more than {LIMIT >> 20} MiB, and the rest was not looked at"))
    return reader.problems


@dataclass
class _Reader:
    """One archive being looked into.

    Attributes:
        look: is shown each member.
        problems: found so far.
        read: how many bytes came out of each layer.
    """

    look: Look
    problems: list[Problem] = field(default_factory=list)
    read: dict[int, int] = field(default_factory=dict)

    def archive(self, name: str, kind: str, file: IO[bytes], layer: int) -> None:
        """Look into an archive, or into what is compressed."""
        try:
            if kind == "zip":
                self._zip(name, file, layer)
            elif kind == "tar":
                self._tar(name, file, layer)
            else:
                self._member(name, _decompressed(kind, file), layer)
        except LimitError:
            raise
        except Exception as error:  # of what is damaged or locked, the libraries raise errors of any class
            self._tell(name, f"a damaged {kind} archive ({error or type(error).__name__})")

    def _zip(self, name: str, file: IO[bytes], layer: int) -> None:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                inner = _join(name, info.filename)
                try:
                    if not info.is_dir():
                        with archive.open(info) as member:
                            self._member(inner, member, layer)
                except LimitError:
                    raise
                except Exception as error:  # likewise; other members may be whole
                    self._tell(inner, f"it cannot be read ({error or type(error).__name__})")

    def _tar(self, name: str, file: IO[bytes], layer: int) -> None:
        with tarfile.open(fileobj=file, mode="r|") as archive:
            for info in archive:
                member = archive.extractfile(info) if info.isreg() else None
                if member is not None:
                    self._member(_join(name, info.name), member, layer)

    def _member(self, name: str, source: Readable, layer: int) -> None:
        """Look at one member, or into it where it is an archive itself."""
        counted = io.BufferedReader(_Counted(source, self.read, layer), 1 << 16)
        kind = archive_kind(counted.peek(HEAD))
        if not kind:
            self.look(name, counted)
        elif layer + 1 == LAYERS:
            self._tell(name, "an archive in too many others, which was not looked into")
        elif kind != "zip":
            self.archive(name, kind, counted, layer + 1)
        elif len(data := counted.read(NESTED_ZIP + 1)) > NESTED_ZIP:
            self._tell(name, f"a zip of more than {NESTED_ZIP >> 20} MiB in an archive, which was not looked into")
        else:
            self.archive(name, kind, io.BytesIO(data), layer + 1)

    def _tell(self, name: str, why: str) -> None:
        self.problems.append(Problem(name, why))


class _Counted(io.RawIOBase):
    """Bytes that are counted as they are read."""

    def __init__(self, source: Readable, read: dict[int, int], layer: int) -> None:
        """Count what is read of `source` in `read[layer]`."""
        super().__init__()
        self._source, self._read, self._layer = source, read, layer

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # any writable buffer
        """Fill a buffer as far as there are bytes; return how many.

        Raises:
            LimitError: more came out of this layer than is looked at.
        """
        view, size = memoryview(buffer), 0
        while size < len(view) and (data := self._source.read(len(view) - size)):
            view[size : size + len(data)] = data
            size += len(data)
        total = self._read[self._layer] = self._read.get(self._layer, 0) + size
        if total > LIMIT:
            raise LimitError
        return size


def _decompressed(kind: str, file: IO[bytes]) -> Readable:
    if kind == "gzip":
        return gzip.GzipFile(fileobj=file)
    return bz2.BZ2File(file) if kind == "bzip2" else lzma.LZMAFile(file)


def _join(outer: str, name: str) -> str:
    return f"{outer} > {name}" if outer else name
