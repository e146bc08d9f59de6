"""From a file to what the graph takes, whatever the file holds.

    preprocess = preprocess_from_json(manifest["preprocess"])
    for file in find_files(Path("scans"), preprocess.kind).files:
        preprocess(preprocess.read(file))         # one input of the graph, without its batch dimension

Images and audio each have a module; both are a `Preprocess`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from pfedge_runtime.errors import BundleError, InputError, MissingExtraError, PfedgeError, UsageError
from pfedge_runtime.inputs.audio import AudioPreprocess
from pfedge_runtime.inputs.finding import LeftOut, find_files
from pfedge_runtime.inputs.image import ImagePreprocess

Frame = int | Literal["all"] | None  # a frame's number from 1, each frame, or the only one

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

    def read(self, path: Path, /, *, frame: int | None = None, max_pixels: int | None = None) -> Any:  # noqa: ANN401 -- pixels or a sound
        """Decode a file.

        Args:
            path: the file.
            frame: which of its frames or pages, from 1; None is the only one.
            max_pixels: refuse an image of more; None is Pillow's limit.

        Raises:
            InputError: it is missing, truncated, or of another kind; or it has several frames and none is asked for.
        """

    def read_frames(self, path: Path, /, *, max_pixels: int | None = None) -> Iterator[Any]:
        """Decode every frame of a file, in order; see `read`."""

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


def read_files(
    paths: Iterable[Path],
    preprocess: Preprocess,
    *,
    frame: Frame = None,
    max_pixels: int | None = None,
    on_error: Callable[[PfedgeError], None] | None = None,
    on_left_out: Callable[[LeftOut], None] = lambda _: None,
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name and the input of every file at the paths and below them, in order.

    Args:
        paths: files and folders.
        preprocess: the bundle's.
        frame: which frame of each file; `all` gives one input a frame. Names then end in `#frame`.
        max_pixels: refuse an image of more; None is Pillow's limit.
        on_error: called for each path or file that cannot be read, the error's `source`, which is then left out;
            None raises.
        on_left_out: called for each folder, with what it holds besides data.

    Raises:
        UsageError: `frame` is neither a number from 1 nor `all`.
        InputError: a path is missing or a file cannot be read, and `on_error` is None.
        MissingExtraError: a file needs an extra that is not installed, and `on_error` is None.
    """
    if frame is not None and frame != "all" and (type(frame) is not int or frame < 1):
        message = f"a frame is a number from 1, or all; got {frame!r}"
        raise UsageError(message)
    for path in paths:
        try:
            found = find_files(Path(path), preprocess.kind)
        except InputError as error:
            _report(error, path, on_error)
            continue
        on_left_out(found.left_out)
        for file in found.files:
            try:
                for name, decoded in _frames_of(file, preprocess, frame, max_pixels):
                    yield name, preprocess(decoded)
            except (InputError, MissingExtraError) as error:
                _report(error, file, on_error)


def _frames_of(file: Path, preprocess: Preprocess, frame: Frame, max_pixels: int | None) -> Iterator[tuple[str, Any]]:
    """Yield the name and the decoded content of the frames that are asked for."""
    if frame == "all":
        for number, decoded in enumerate(preprocess.read_frames(file, max_pixels=max_pixels), start=1):
            yield f"{file}#{number}", decoded
        return
    name = str(file) if frame is None else f"{file}#{frame}"
    yield name, preprocess.read(file, frame=frame, max_pixels=max_pixels)


def _report(error: PfedgeError, source: Path, on_error: Callable[[PfedgeError], None] | None) -> None:
    error.source = str(source)
    if on_error is None:
        raise error
    on_error(error)
