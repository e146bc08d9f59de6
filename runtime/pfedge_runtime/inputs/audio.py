"""From a sound file to the log-mel features that the graph takes: the same code in training and on the device.

    preprocess = AudioPreprocess(frames=1024, mels=128)
    preprocess(preprocess.read(Path("rooster.ogg")))      # float32 [1024, 128]

The features are those of the Audio Spectrogram Transformer (Gong et al., arXiv 2104.01778, section 2.1): Kaldi's
filter bank, 25 ms Hann windows every 10 ms, brought to a fixed number of frames and normalised.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pfedge_runtime.errors import InputError, MissingExtraError

Features = NDArray[np.float32]

WINDOW_SECONDS = 0.025
HOP_SECONDS = 0.010
PREEMPHASIS = 0.97
LOWEST_HERTZ = 20.0
FLOOR = float(np.finfo(np.float32).eps)
STREAMED = {0, 0xFFFFFFFF}  # the length in the header of a WAV file that was written to a pipe
OGG_END = 4  # flag of a stream's last page
OGG_HEADER = 27  # bytes of a page before its segment table, the last of them its length


@dataclass(frozen=True)
class Sound:
    """A decoded sound.

    Attributes:
        samples: float32 `[n]`, one channel, -1 to 1.
        rate: samples per second.
        name: what an error calls it, the file it came from.
    """

    samples: NDArray[np.float32]
    rate: int
    name: str = "the sound"


@dataclass(frozen=True)
class AudioPreprocess:
    """How a sound of any length and rate becomes `frames` x `mels` numbers.

    Attributes:
        frames: windows of 10 ms; a longer sound is cut, a shorter one is followed by zeros.
        mels: mel filters between 20 Hz and half the rate.
        rate: samples per second that the sound is resampled to.
        mean: subtracted from every log energy, the zeros that follow a short sound included.
        std: half of what the result is divided by.
    """

    frames: int
    mels: int
    rate: int = 16_000
    mean: float = -4.2677393
    std: float = 4.5689974

    kind: ClassVar[str] = "audio"
    input_name: ClassVar[str] = "features"
    dtype: ClassVar[str] = "float32"

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of one input of the graph: `(frames, mels)`."""
        return self.frames, self.mels

    @property
    def seconds(self) -> float:
        """How much of a sound is heard."""
        return (self.frames - 1) * HOP_SECONDS + WINDOW_SECONDS

    def read(self, path: Path, *, frame: int | None = None, max_pixels: int | None = None) -> Sound:  # noqa: ARG002 -- a sound has no pixels
        """Decode the part of a sound file that is heard; see `read_sound`. It has one frame, which is all of it."""
        if frame not in {None, 1}:
            message = f"{path} has no frame {frame}: it is a sound"
            raise InputError(message)
        return read_sound(path, seconds=self.seconds)

    def read_frames(self, path: Path, *, max_pixels: int | None = None) -> Iterator[Sound]:
        """Decode the one frame of a sound file; see `read`."""
        yield self.read(path, max_pixels=max_pixels)

    def __call__(self, sound: Sound | Features) -> Features:
        """Turn a sound into features float32 `[frames, mels]`; features of that shape are returned as they are.

        Raises:
            InputError: the sound is shorter than one window, has a value that is not finite, or is silent
                throughout; or features have another shape.
            MissingExtraError: the sound needs resampling, and the extra `audio` is not installed.
        """
        if isinstance(sound, np.ndarray):
            if sound.shape != self.shape or sound.dtype != np.float32:
                message = f"features must be float32 {list(self.shape)}, got {sound.dtype} {list(sound.shape)}"
                raise InputError(message)
            return sound
        heard = resample(sound, self.rate).samples[: round(self.seconds * self.rate)]
        if len(heard) < round(WINDOW_SECONDS * self.rate):
            message = f"{sound.name} lasts {len(heard) / self.rate * 1000:.0f} ms, less than one window of 25 ms"
            raise InputError(message)
        if not np.isfinite(heard).all():
            message = f"{sound.name} has values that are not finite"
            raise InputError(message)
        if heard.min() == heard.max():
            message = f"{sound.name} is silent: all its samples are equal"
            raise InputError(message)
        energies = log_mel(heard, rate=self.rate, mels=self.mels)[: self.frames]
        padded = np.zeros(self.shape, dtype=np.float32)
        padded[: len(energies)] = energies
        # two standard deviations, as the Audio Spectrogram Transformer was trained
        return (padded - np.float32(self.mean)) / np.float32(2 * self.std)

    def describe(self) -> str:
        """Return the input's size in words."""
        return f"{self.seconds:.2f} s of sound at {self.rate} Hz, {self.frames} frames x {self.mels} mel filters"

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> AudioPreprocess:
        """Read back the fields that stand in a manifest.

        Raises:
            TypeError: one is missing or unknown.
            ValueError: one is out of range.
        """
        result = cls(**fields)
        if min(result.frames, result.mels, result.rate, result.std) <= 0:
            message = "frames, mels, rate and std must be positive"
            raise ValueError(message)
        if not all(type(number) is int for number in (result.frames, result.mels, result.rate)):
            message = "frames, mels and rate must be whole"
            raise ValueError(message)
        if not all(isinstance(number, (int, float)) for number in (result.mean, result.std)):
            message = "mean and std must be numbers"
            raise ValueError(message)
        return result


def read_sound(path: Path, *, seconds: float | None = None) -> Sound:
    """Decode a WAV, Ogg or FLAC file to one channel, the mean of those it has.

    Args:
        path: the file; its content decides its format, not its name.
        seconds: read no more than this from its start.

    Raises:
        InputError: the file is missing, empty, truncated, or not a sound.
        MissingExtraError: the extra `audio` is not installed.
    """
    try:
        import soundfile
    except ImportError as error:
        what = f"reading the sound {path}"
        raise MissingExtraError(what, "audio") from error
    if not path.is_file():
        message = f"no such file: {path}"
        raise InputError(message)
    try:
        with soundfile.SoundFile(path) as file:
            wanted = file.frames if seconds is None else min(file.frames, round(seconds * file.samplerate))
            samples = file.read(wanted, dtype="float32", always_2d=True)
            rate, about = file.samplerate, file.extra_info
    except (OSError, soundfile.SoundFileError) as error:
        message = f"cannot read the sound {path} (WAV, Ogg or FLAC): {error}"
        raise InputError(message) from error
    if len(samples) < wanted or _ends_early(path, about):
        message = f"{path} is truncated: it ends before its own header says"
        raise InputError(message)
    if not len(samples):
        message = f"{path} is empty: it holds no sample"
        raise InputError(message)
    return Sound(samples.mean(axis=1), rate, str(path))


def resample(sound: Sound, rate: int) -> Sound:
    """Return the sound at `rate` samples per second, band-limited (soxr, high quality).

    Raises:
        MissingExtraError: the extra `audio` is not installed.
    """
    if sound.rate == rate:
        return sound
    try:
        import soxr
    except ImportError as error:
        what = f"resampling a sound from {sound.rate} to {rate} Hz"
        raise MissingExtraError(what, "audio") from error
    return Sound(soxr.resample(sound.samples, sound.rate, rate).astype(np.float32), rate, sound.name)


def log_mel(samples: NDArray[np.float32], *, rate: int, mels: int) -> Features:
    """Return the natural logarithm of mel energies, float32 `[windows, mels]`, as Kaldi's `compute-fbank-feats`.

    Per window of 25 ms: mean removed, pre-emphasis 0.97, symmetric Hann window, power spectrum, triangular filters
    of equal width on the mel scale. No dither.

    Args:
        samples: float32 `[n]`, at least one window.
        rate: samples per second.
        mels: number of filters. Above about 120 at 16 kHz some of the lowest hold no bin of the spectrum; their
            energy is the floor 1.19e-07, as in training of the published AST (Kaldi itself refuses them).
    """
    length, hop = round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)
    points = 1 << (length - 1).bit_length()  # Kaldi's transform is as long as the next power of two
    windows = sliding_window_view(samples.astype(np.float64), length)[::hop]
    windows = windows - windows.mean(axis=1, keepdims=True)
    # a sample's predecessor times 0.97 is taken off it; the first has none, and Kaldi takes the first itself
    before = np.concatenate([windows[:, :1], windows[:, :-1]], axis=1)
    spectrum = np.fft.rfft((windows - PREEMPHASIS * before) * np.hanning(length), points)
    # power, not magnitude; each filter then sums the bins under its triangle
    energies = (spectrum.real**2 + spectrum.imag**2) @ _filters(rate, points, mels)
    return np.log(np.maximum(energies, FLOOR)).astype(np.float32)


@lru_cache(maxsize=4)
def _filters(rate: int, points: int, mels: int) -> NDArray[np.float64]:
    """Return the weights `[points // 2 + 1, mels]` of Kaldi's triangular filters."""

    def mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:  # O'Shaughnessy's scale, as HTK and Kaldi have it
        return 1127 * np.log1p(hertz / 700)

    lowest, highest = mel(np.array([LOWEST_HERTZ, rate / 2])).tolist()
    edges = np.linspace(lowest, highest, mels + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    bins = mel(np.linspace(0.0, rate / 2, points // 2 + 1))[:, None]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    weights: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return weights


def _ends_early(path: Path, about: str) -> bool:
    """Whether a WAV file is shorter than its header says, or an Ogg file lacks its last page.

    `about` is libsndfile's description of the file. It reads both without complaint.
    """
    declared = re.search(r"^data : (\d+) \(should be", about, re.MULTILINE)
    if declared and int(declared[1]) not in STREAMED:
        return True
    return ("Ogg stream" in about or about.startswith("Ogg")) and not _ogg_is_whole(path.read_bytes())


def _ogg_is_whole(data: bytes) -> bool:
    """Whether the last page is marked as such and is all there (RFC 3533, section 6)."""
    page = data.rfind(b"OggS")
    header = data[page : page + OGG_HEADER]
    if page < 0 or len(header) < OGG_HEADER or not header[5] & OGG_END:
        return False
    lengths = data[page + OGG_HEADER : page + OGG_HEADER + header[-1]]
    return len(lengths) == header[-1] and page + OGG_HEADER + header[-1] + sum(lengths) <= len(data)
