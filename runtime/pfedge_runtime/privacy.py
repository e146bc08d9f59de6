"""What the libraries under pfedge may not do: call their makers, or write where nobody told them to.

    import pfedge_runtime        # the first import of every package of pfedge; it runs `forbid` before any library

Measured with `strace`, one import at a time, the variable `CI` unset and HOME an empty folder:

| library | what it does unasked | what stops it |
|---|---|---|
| onnxruntime | a device id and a queue of events below HOME, then Microsoft's server | its variable |
| openvino | a client id below HOME, then Google Analytics: from `import openvino` on | its package for that is hidden |
| huggingface_hub | tells with each download what asked for it; looks for newer versions | its variables |
| matplotlib | lists of fonts below HOME, one of its own, one by `fc-list` | a folder of this process |
| torch | an empty folder for compiled kernels, left in the folder for temporary files | a folder of this process |
| uuid | a socket to read a network card's address for `uuid1`, where no uuidd runs | a random number (RFC 9562, 6.10) |
| urllib3 | a socket bound to ::1, to see whether there is IPv6 (pydicom imports it) | it is told |

A library that the program imported before pfedge has done all that by then. A program that wants such messages sets
PFEDGE_ALLOW_TELEMETRY=1.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from importlib.machinery import ModuleSpec
from types import ModuleType

ALLOW = "PFEDGE_ALLOW_TELEMETRY"
OFF = {
    "DISABLE_SAFETENSORS_CONVERSION": "1",  # transformers asks the hub to convert weights, in a thread of its own
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "ORT_DISABLE_TELEMETRY": "1",  # read once, when the library is loaded
}

Around = Callable[[ModuleType], AbstractContextManager[None]]


def forbid() -> None:
    """Set the variables, and stand before the imports of libraries that have none; a second call changes nothing."""
    if os.environ.get(ALLOW) == "1":
        return
    os.environ.update(OFF)
    if disable := getattr(sys.modules.get("onnxruntime"), "disable_telemetry_events", None):
        disable()
    if there := sys.modules.get("uuid"):
        with _numbered_at_random(there):
            pass
    if not any(isinstance(finder, _Guard) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Guard())


class _Guard:
    """Finds what the other finders find, and has some modules run with something around them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        around = AROUND.get(fullname)
        if around is None:
            return None
        others = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((found for found in others if found is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = partial(_run, spec.loader.exec_module, around)  # type: ignore[method-assign]
        return spec


def _run(run: Callable[[ModuleType], None], around: Around, module: ModuleType) -> None:
    with around(module):
        run(module)


@contextmanager
def _hiding(package: str, _module: ModuleType) -> Iterator[None]:
    """Let a package look as if it were not installed: who imports it has a way without it."""
    there = sys.modules.get(package)
    sys.modules[package] = None  # type: ignore[assignment]  # this is how Python spells "not to be imported"
    try:
        yield
    finally:
        del sys.modules[package]
        if there is not None:
            sys.modules[package] = there


@contextmanager
def _told_of_ipv6(module: ModuleType) -> Iterator[None]:
    """Have urllib3 believe what Python was built with, instead of binding a socket to find out."""
    import socket

    built = socket.has_ipv6
    socket.has_ipv6 = False
    try:
        yield
    finally:
        socket.has_ipv6 = built
    module.HAS_IPV6 = built  # type: ignore[attr-defined]


@contextmanager
def _numbered_at_random(module: ModuleType) -> Iterator[None]:
    """Have `uuid1` number this machine at random: libuuid would ask the network card, through a socket."""
    yield
    module._generate_time_safe = None  # type: ignore[attr-defined]  # noqa: SLF001 -- uuid has no switch for it
    multicast = 1 << 40  # says that it is no card's address
    module._node = int.from_bytes(os.urandom(6), "big") | multicast  # type: ignore[attr-defined]  # noqa: SLF001 -- as above


@contextmanager
def _caching(variable: str, _module: ModuleType) -> Iterator[None]:
    """Have a library keep its cache in this process's folder, where the user named none."""
    if not os.environ.get(variable):
        os.environ[variable] = os.path.join(_scratch(), variable.lower())  # noqa: PTH118 -- pathlib is slow to import
    yield


@contextmanager
def _without_fontconfig(_module: ModuleType) -> Iterator[None]:
    """Give `fc-list`, which matplotlib starts and which may write a cache, no folder; matplotlib has fonts itself."""
    nothing = os.path.join(_scratch(), "fonts.conf")  # noqa: PTH118 -- as above
    with open(nothing, "w", encoding="utf-8") as file:  # noqa: PTH123 -- as above
        file.write("<fontconfig/>")
    before = os.environ.get("FONTCONFIG_FILE")
    os.environ["FONTCONFIG_FILE"] = nothing
    try:
        yield
    finally:
        del os.environ["FONTCONFIG_FILE"]
        if before is not None:
            os.environ["FONTCONFIG_FILE"] = before


@cache
def _scratch() -> str:
    """Return a folder that goes when the process does."""
    import shutil
    import tempfile

    folder, owner = tempfile.mkdtemp(prefix="pfedge-"), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # a forked child ends while its parent still writes there
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


AROUND: dict[str, Around] = {
    "matplotlib": partial(_caching, "MPLCONFIGDIR"),
    "matplotlib.font_manager": _without_fontconfig,
    "openvino": partial(_hiding, "openvino_telemetry"),
    "torch._inductor": partial(_caching, "TORCHINDUCTOR_CACHE_DIR"),
    "urllib3.util.connection": _told_of_ipv6,
    "uuid": _numbered_at_random,
}
