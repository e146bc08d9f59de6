"""A backbone's `preprocessor_config.json`: nobody guesses preprocessing.

config = read_preprocessor("google/vit-base-patch16-224")
image_preprocess(config, name=..., patch_size=16, image_size=None)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pfedge.errors import BackboneError
from pfedge_runtime.errors import UsageError
from pfedge_runtime.inputs import RESAMPLING, AudioPreprocess, ImagePreprocess

PREPROCESSOR = "preprocessor_config.json"
PIL_FILTERS = {int(value): name for name, value in RESAMPLING.items()}


def read_preprocessor(source: str) -> dict[str, Any]:
    """Read the file from a local folder or the hub.

    Raises:
        BackboneError: a local folder lacks it.
        OSError: it cannot be fetched.
        ValueError: it is not JSON.
    """
    if Path(source).is_dir():
        path = Path(source) / PREPROCESSOR
        if not path.is_file():
            message = (
                f"backbone {source} lacks {PREPROCESSOR}, which says how its images were prepared: its JSON holds "
                "image_mean and image_std (three numbers each), size, and resample. Add the file, or say it with "
                "--mean --std --interpolation"
            )
            raise BackboneError(message)
    else:
        from huggingface_hub import hf_hub_download

        path = Path(hf_hub_download(source, PREPROCESSOR))
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def plain_preprocessor(mean: Sequence[float], std: Sequence[float], interpolation: str) -> dict[str, Any]:
    """Return what stands in for a missing `preprocessor_config.json` of a backbone that sees images.

    Args:
        mean: of the red, green and blue values that it was trained on, 0 to 1; one for all of them will do.
        std: their standard deviations, likewise.
        interpolation: `nearest`, `bilinear`, `bicubic` or `lanczos`.

    Raises:
        UsageError: there are neither one nor three numbers, a deviation is not positive, or no such interpolation.
    """
    if len(mean) not in {1, 3} or len(std) not in {1, 3} or min(std) <= 0:
        message = "--mean and --std take one number or three, for red, green and blue; those of --std above 0"
        raise UsageError(message)
    if interpolation not in RESAMPLING:
        message = f"--interpolation is one of {', '.join(RESAMPLING)}, not {interpolation!r}"
        raise UsageError(message)
    return {
        "image_mean": list(mean) * (3 // len(mean)),
        "image_std": list(std) * (3 // len(std)),
        "resample": int(RESAMPLING[interpolation]),
    }


def image_preprocess(
    config: dict[str, Any], *, name: str, patch_size: int, own_size: int, image_size: int | None
) -> ImagePreprocess:
    """Take size, crop and filter from the preprocessor; another `image_size` scales them alike.

    Args:
        config: the preprocessor's configuration.
        name: what errors call the backbone.
        patch_size: side of a patch in pixels.
        own_size: side of the backbone's images in pixels, where the preprocessor names none.
        image_size: the side asked for, or None.

    Raises:
        BackboneError: a field is missing, or the size is not a multiple of the patch size.
    """
    _require(config, name, "image_mean", "image_std", "size")
    size, crop = config["size"], config.get("crop_size")
    if isinstance(size, int):
        size = {"height": size, "width": size}
    cropped = config.get("do_center_crop", False) and crop is not None
    native = crop if cropped else size
    own = int(native["height"]) if isinstance(native, dict) and "height" in native else own_size
    side = image_size or own
    if side < patch_size or side % patch_size:
        message = f"image size {side} is not a multiple of the patch size {patch_size} of {name}"
        raise BackboneError(message)
    shorter = size.get("shortest_edge")
    return ImagePreprocess(
        height=side,
        width=side,
        resample=PIL_FILTERS.get(int(config.get("resample", 2)), "bilinear"),
        shorter_side=None if shorter is None else max(side, round(int(shorter) * side / own)),
    )


def audio_preprocess(
    config: dict[str, Any], *, name: str, frames: int, mels: int, image_size: int | None
) -> AudioPreprocess:
    """Take rate, length and normalisation from the preprocessor (an `ASTFeatureExtractor`'s).

    Raises:
        BackboneError: a field is missing, or it disagrees with the backbone's `frames` and `mels`.
        UsageError: an image size was asked for.
    """
    if image_size is not None:
        message = f"{name} listens to sounds: it has no image size"
        raise UsageError(message)
    _require(config, name, "sampling_rate", "max_length", "num_mel_bins", "mean", "std")
    if (config["max_length"], config["num_mel_bins"]) != (frames, mels) or not config.get("do_normalize", True):
        message = (
            f"{PREPROCESSOR} of {name} does not fit its backbone, which takes {frames} frames x {mels} mel filters"
        )
        raise BackboneError(message)
    return AudioPreprocess(
        frames=frames, mels=mels, rate=config["sampling_rate"], mean=config["mean"], std=config["std"]
    )


def _require(config: dict[str, Any], name: str, *fields: str) -> None:
    missing = [field for field in fields if field not in config]
    if missing:
        message = f"{PREPROCESSOR} of {name} lacks {', '.join(missing)}"
        raise BackboneError(message)
