"""Attack: whatever library pfedge runs on calls its maker, or keeps notes below HOME.

Resisted: every verb runs under `strace`, with HOME an empty folder and no variable that a CI sets (libraries are quiet
there). No socket but to this machine's own services, no look at the list of name servers, and nothing is
written outside the folders that the verb was given. The controls show that `strace` sees what the libraries would do.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

STRACE = shutil.which("strace")
pytestmark = pytest.mark.skipif(STRACE is None, reason="needs strace (apt-get install strace)")

CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)")
HALF = re.compile(r"<\.\.\. \w+ resumed>")
NAMES = re.compile(r"/etc/(resolv\.conf|hosts)\b")  # who looks at them is about to resolve a name
OWN = ("/dev/null/", "/dev/shm/", "/dev/tty/", "/proc/")  # noqa: S108 -- semaphores; they go with the process
LOCAL = ("/var/run/nscd/socket", "/run/uuidd/request")  # this machine's own: who a user is, and a number for uuid1
MAKES = re.compile(r"(mkdir|creat|mknod|rename|link|symlink)(at|at2)?")


@dataclass
class Traced:
    """What one command did: its outcome, and the calls that nobody asked for."""

    done: subprocess.CompletedProcess[str]
    network: list[str]
    writes: list[str]
    left: list[Path]

    def require_quiet(self):
        assert self.done.returncode == 0, self.done.stderr
        assert self.network == []
        assert self.writes == []
        assert self.left == [], "left in HOME or in the folder for temporary files"


@pytest.fixture
def traced(tmp_path):
    """Run a command in `work`, a folder of its own, and return what it did outside of the folders it was given."""
    places = {name: tmp_path / name for name in ("home", "tmp", "work", "device")}
    for place in places.values():
        place.mkdir(exist_ok=True)
    given = (*(f"{places[name]}/" for name in ("tmp", "work", "device")), *OWN)
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "PYTHONPATH", "LD_LIBRARY_PATH"}}
    environment = {
        **kept,
        "HOME": str(places["home"]),
        "TMPDIR": str(places["tmp"]),
        "PFEDGE_STATE_DIR": str(places["device"] / "state"),
        "PFEDGE_FLOOR_FILE": str(places["device"] / "floor"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def in_given(call):
        return f"{written_path(call, places['work'])}/".startswith(given)

    def run(*command, **more):
        log = tmp_path / "trace"
        done = subprocess.run(
            [STRACE, "-f", "-qq", "-y", "-s", "4096", "-e", "trace=network,%file", "-o", log, *map(str, command)],
            cwd=places["work"],
            env={**environment, **more},
            check=False,
            capture_output=True,
            text=True,
        )
        calls = list(read_calls(log))
        left = [path for name in ("home", "tmp") for path in places[name].rglob("*")]
        return Traced(
            done,
            [call for name, call in calls if is_network(name, call)],
            [call for name, call in calls if makes_file(name, call) and not in_given(call)],
            left,
        )

    return run


@pytest.fixture
def pfedge(traced):
    """Run a verb of pfedge so, from one line."""
    return lambda line, **more: traced(sys.executable, "-m", "pfedge", *line.split(), **more)


def read_calls(log):
    """Yield the name and the text of each call that succeeded; calls that another thread interrupted are joined."""
    begun = {}
    for line in log.read_text(errors="replace").splitlines():
        thread, _, text = line.partition(" ")
        text = text.strip()
        if text.endswith("<unfinished ...>"):
            begun[thread] = text.removesuffix("<unfinished ...>")
            continue
        if HALF.match(text):
            text = begun.pop(thread, "") + HALF.sub("", text, count=1)
        call = CALL.match(text)
        if call and (int(call[3]) >= 0 or call[1] in {"connect", "sendto"}):
            yield call[1], text


def is_network(name, call):
    if name in {"open", "openat"}:
        return bool(NAMES.search(call))
    if name == "socket":
        return "AF_UNIX" not in call
    return name in {"connect", "sendto", "bind"} and "AF_" in call and not any(place in call for place in LOCAL)


def makes_file(name, call):
    if name in {"open", "openat"}:
        return any(flag in call for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"))
    return bool(MAKES.fullmatch(name))


def written_path(call, work):
    """Return the last path of a call, of a rename its new name; what names no folder is relative to `work`."""
    folders = re.findall(r"(?:AT_FDCWD|\d+)<([^>]*)>", call.rpartition(" = ")[0])
    path = re.findall(r'"((?:[^"\\]|\\.)*)"', call)[-1]
    return os.path.normpath(Path(folders[-1] if folders else work, path))


@pytest.fixture
def work(tmp_path, traced, bundle_path, golden):
    """The folder `work`, with the golden bundle, images, a DICOM file and a sound."""
    folder = tmp_path / "work"
    bundle_path.rename(folder / "bundle")
    (folder / "images").mkdir()
    for position, image in enumerate(golden["images"][:2]):
        Image.fromarray(image).save(folder / "images" / f"{position}.png")
    return folder


VERBS = [
    "--help",
    "predict images --bundle bundle",
    "predict images --bundle bundle --device openvino",
    "predict images --bundle bundle --json",
    "inspect --bundle bundle",
    "verify bundle --selftest",
    "verify bundle --selftest --device openvino",
    "bench bundle --seconds 0 --batch 1",
    "adopt --bundle bundle",
    "keygen key.pem",
    "forget --class 3 --bundle bundle --sweep images --yes",
]


@pytest.mark.parametrize("line", VERBS)
def test_a_verb_of_the_device_is_quiet(pfedge, work, line):
    if "openvino" in line:
        pytest.importorskip("openvino")
    pfedge(line).require_quiet()


def test_receipts_and_ledgers_are_quiet(pfedge, work, tmp_path):
    pytest.importorskip("fpdf")
    pfedge("forget --class 3 --bundle bundle --request case-1 --yes").require_quiet()
    shutil.copy(tmp_path / "device" / "state" / "device.pub", work)
    receipt = next((tmp_path / "device" / "state" / "receipts").glob("*.json"))
    shutil.copy(receipt, work / "receipt.json")
    for line in (
        "device",
        "ledger show",
        "receipt verify receipt.json --key device.pub",
        "receipt pdf receipt.json --key device.pub --out receipt.pdf",
    ):
        pfedge(line).require_quiet()


def test_dicom_is_quiet(pfedge, work):
    """pydicom imports requests, whose urllib3 binds a socket to see whether there is IPv6."""
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "2.25.1"
    dataset.Rows = dataset.Columns = 14
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
    dataset.PhotometricInterpretation, dataset.Modality = "MONOCHROME2", "OT"
    dataset.PixelData = np.arange(196, dtype=np.uint8).tobytes()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.save_as(work / "scan.dcm", enforce_file_format=True)
    pfedge("predict scan.dcm --bundle bundle").require_quiet()


def test_sounds_are_quiet(traced, work):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(work / "cough.wav", np.random.default_rng(0).normal(0, 0.1, 44100), 44100)
    script = (
        "from pathlib import Path; from pfedge_runtime import AudioPreprocess\n"
        "preprocess = AudioPreprocess(frames=100, mels=32, mean=0.0, std=1.0)\n"
        "preprocess(preprocess.read(Path('cough.wav')))"
    )
    traced(sys.executable, "-c", script).require_quiet()


LIBRARIES = [
    "onnxruntime", "openvino", "pydicom", "soundfile", "fpdf", "torch", "torchvision", "transformers", "peft", "onnx",
    "onnxscript", "sklearn.datasets", "matplotlib.pyplot", "tensorrt_rtx", "huggingface_hub", "requests",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_imported_after_pfedge_is_quiet(traced, library):
    pytest.importorskip(library)
    traced(sys.executable, "-c", f"import pfedge_runtime, {library}").require_quiet()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("guarantee", "exported"), [("shared", "--precision fp32"), ("isolated", "--precision int8"), ("exact", "")]
)
def test_training_and_exporting_are_quiet(pfedge, work, guarantee, exported):
    built_in = "--dataset digits --model-name builtin:micro"
    pfedge(f"train {built_in} --guarantee {guarantee} --epochs 1 --train-limit 100 --out run").require_quiet()
    pfedge(f"export run {exported} --max-drop 1 --out exported").require_quiet()
    pfedge("predict images --bundle exported").require_quiet()


@pytest.mark.slow
def test_evaluating_is_quiet(pfedge, work):
    pfedge("train --dataset digits --model-name builtin:micro --guarantee exact --train-limit 100 --out run")
    pfedge("eval run --limit 20 --max-subsets 5").require_quiet()


@pytest.mark.slow
def test_a_backbone_in_a_folder_asks_no_hub(pfedge, work, tiny_vit, coloured_npz):
    shutil.copytree(tiny_vit, work / "vit")
    shutil.copy(coloured_npz, work / "coloured.npz")
    pfedge("train --dataset coloured.npz --model-name vit --guarantee exact --out run").require_quiet()


@pytest.mark.parametrize(
    ("library", "seen"),
    [("onnxruntime", "/.cache/Microsoft/"), ("openvino", "/intel/"), ("matplotlib.pyplot", "/matplotlib/")],
)
def test_the_library_alone_is_not_quiet(traced, library, seen):
    """The positive control: the same trace, where PFEDGE_ALLOW_TELEMETRY lets libraries do as they like."""
    pytest.importorskip(library)
    did = traced(sys.executable, "-c", f"import pfedge_runtime, {library}", PFEDGE_ALLOW_TELEMETRY="1")
    assert any(seen in call for call in did.writes)


def test_a_socket_is_seen(traced):
    """The positive control for the network, which needs none."""
    script = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))"
    assert len(traced(sys.executable, "-c", script).network) == 2


def test_a_home_that_cannot_be_written_is_no_matter(pfedge, work, tmp_path):
    (tmp_path / "home").rmdir()
    (tmp_path / "home").write_bytes(b"a file, where no folder can be made")
    did = pfedge("--quiet predict images --bundle bundle")
    assert (did.done.returncode, did.done.stderr, did.network, did.writes) == (0, "", [], [])
