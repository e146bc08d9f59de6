"""From a file to what the graph takes, whatever the file holds.

    preprocess = preprocess_from_json(manifest["preprocess"])
    for file in find_files(Path("scans"), preprocess.suffixes):
        preprocess(preprocess.read(file))         # one input of the graph, without its batch dimension

Images and audio each have a module; both are a `Preprocess`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from pfedge_runtime.errors import BundleError, InputError
from pfedge_runtime.inputs.audio import AudioPreprocess
from pfedge_runtime.inputs.image import ImagePreprocess

KINDS: dict[str, type[ImagePreprocess | AudioPreprocess]] = {"image": ImagePreprocess, "audio": AudioPreprocess}


class Preprocess(Protocol):
    """What stands between a file and the graph; a frozen dataclass whose fields stand in the manifest."""

    @property
    def kind(self) -> str:
        """`image` or `audio`."""

    @property
    def input_name(self) -> str:
        """The graph's input: `images` or `features`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, without the batch dimension."""

    @property
    def dtype(self) -> str:
        """The NumPy name of the input's dtype."""

    @property
    def suffixes(self) -> frozenset[str]:
        """File suffixes that are looked for in folders, in lower case."""

    def read(self, path: Path, /) -> Any:  # noqa: ANN401 -- pixels or a sound
        """Decode a file.

        Raises:
            InputError: it is missing, truncated, or of another kind.
        """

    def __call__(self, decoded: Any, /) -> NDArray[Any]:  # noqa: ANN401 -- as above
        """Turn a decoded file into one input; what has its shape and dtype already is returned as it is.

        Raises:
            InputError: the decoded file does not fit.
        """

    def describe(self) -> str:
        """Return the input's size in words."""


def preprocess_to_json(preprocess: Preprocess) -> dict[str, Any]:
    """Return what stands in a manifest."""
    fields: dict[str, Any] = asdict(preprocess)  # type: ignore[call-overload]  # a protocol cannot ask for a dataclass
    return {"kind": preprocess.kind, **fields}


def preprocess_from_json(value: dict[str, Any]) -> Preprocess:
    """Read back what stands in a manifest.

    Raises:
        BundleError: it is of an unknown kind, or a field is missing, unknown or out of range.
    """
    fields = dict(value)
    kind = fields.pop("kind", None)
    if kind not in KINDS:
        message = f"unknown preprocessing {value}; this version knows the kinds {', '.join(KINDS)}"
        raise BundleError(message)
    try:
        return KINDS[kind].from_json(fields)
    except (TypeError, ValueError) as error:
        message = f"unknown preprocessing {value}: {error}"
        raise BundleError(message) from error


def find_files(path: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the files at `path`: itself if it is a file, else all below it with one of the suffixes, sorted.

    Raises:
        InputError: nothing is there, or a folder holds no such file.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        message = f"no such file or folder: {path}"
        raise InputError(message)
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file())
    if not found:
        message = f"nothing to read below {path}; known suffixes are {' '.join(sorted(suffixes))}"
        raise InputError(message)
    return found
