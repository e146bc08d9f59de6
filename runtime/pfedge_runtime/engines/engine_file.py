"""Engines that lie in a bundle: `engines/<key>/engine.plan`, and beside each what it was built from and for.

    about = EngineAbout(graph=..., profile=profile.to_json(), precision="fp16", library="tensorrt-rtx", ...)
    plan = read_engine(bundle.path, about)

The key is the digest of everything an engine depends on, so that a stale or foreign one is never found, and the plan's
own digest stands beside it, so that a damaged one is never loaded. No row is in an engine: the bank is its input.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pfedge_runtime.errors import BundleError
from pfedge_runtime.files import canonical_json, sha256_file, staged_folder

ENGINES = "engines"
PLAN = "engine.plan"
ABOUT = "engine.json"


@dataclass(frozen=True)
class EngineAbout:
    """All that an engine depends on.

    Attributes:
        graph: SHA-256 of the ONNX file.
        profile: the shapes it was built for, as `Profile.to_json` gives them.
        precision: what the graph computes in.
        library: `tensorrt` or `tensorrt-rtx`.
        version: of that library.
        target: the compute capability it runs on, such as `8.6`; of `tensorrt` the model of the GPU.
        driver: of the GPU it was built on; `any` where it was built ahead of time for every one.
    """

    graph: str
    profile: dict[str, dict[str, list[int]]]
    precision: str
    library: str
    version: str
    target: str
    driver: str = "any"

    @property
    def key(self) -> str:
        """Name of its folder: 32 hexadecimal digits."""
        return hashlib.sha256(canonical_json(asdict(self))).hexdigest()[:32]


def write_engine(bundle: Path, about: EngineAbout, plan: bytes) -> Path:
    """Put an engine into a bundle, whole or not at all, and return its folder; one that is there already stays.

    Raises:
        StorageError: the disk refuses.
    """
    folder = bundle / ENGINES / about.key
    if not folder.exists():
        with staged_folder(folder) as stage:
            (stage / PLAN).write_bytes(plan)
            described = {**asdict(about), "sha256": hashlib.sha256(plan).hexdigest()}
            (stage / ABOUT).write_bytes(canonical_json(described))
    return folder


def read_engine(bundle: Path, about: EngineAbout) -> bytes:
    """Return the plan of the engine that fits.

    Raises:
        BundleError: there is none (the message lists those there are), or it is damaged.
    """
    folder = bundle / ENGINES / about.key
    if not (folder / PLAN).is_file():
        found = list_engines(bundle)
        there = ", ".join(f"{one['library']} {one['version']} for {one['target']}" for one in found) or "none"
        message = (
            f"{bundle} has no engine of {about.library} {about.version} for compute capability {about.target} and this "
            f"graph; there are: {there}. Build one with pfedge export {bundle} --to {about.library}"
        )
        raise BundleError(message)
    described = _read_about(folder)
    if described != {**asdict(about), "sha256": sha256_file(folder / PLAN)}:
        message = f"{folder / PLAN} is damaged: it is not the engine that {ABOUT} describes"
        raise BundleError(message)
    return (folder / PLAN).read_bytes()


def list_engines(bundle: Path) -> list[dict[str, Any]]:
    """Return what each engine in a bundle says of itself.

    Raises:
        BundleError: one cannot be read.
    """
    return [_read_about(file.parent) for file in sorted((bundle / ENGINES).glob(f"*/{ABOUT}"))]


def _read_about(folder: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_bytes())
        EngineAbout(**{name: value for name, value in about.items() if name != "sha256"})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        message = f"{folder / ABOUT} is damaged: {error}"
        raise BundleError(message) from error
    return about
