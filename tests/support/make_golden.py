"""Make `tests/formats/v1`: a small real bundle and bank that every later version must be able to read.

    cd tests
    python -m support.make_golden formats/v1
    python -m support.make_golden formats/v1/exact --guarantee exact            # and isolated
    python -m support.make_golden formats/v1 --device       # of its bundle: ledger, receipt, sealed and signed

A released format's folder is made once and never again; a new format gets a new folder.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from pfedge.data import load_dataset
from pfedge.exporting import ExportSettings, export_run
from pfedge.guarantees import GUARANTEES, train
from pfedge.training import TrainSettings
from pfedge_runtime import Bundle, Classifier, forget
from pfedge_runtime.bank import seal
from pfedge_runtime.device import DeviceState, FileFloor
from pfedge_runtime.errors import TombstoneError
from pfedge_runtime.forgetting import adopt, write_keys
from pfedge_runtime.receipts import Receipt, authorize, restore, trust
from pfedge_runtime.signing import PrivateKey
from support.backbones import SIDE, write_tiny_vit


def write_bundle(out: Path, guarantee: str) -> None:
    """Train, export, and write down what the bundle predicts."""
    with tempfile.TemporaryDirectory() as folder:
        backbone = write_tiny_vit(Path(folder) / "vit")
        config = GUARANTEES[guarantee].config("digits", str(backbone), epochs=3, lr=3e-3, embedding_dim=16)
        settings = TrainSettings(out=Path(folder) / "run", save_dir=Path(folder) / "run", precision="fp32")
        run, _ = train(config, settings, Console())
        bundle, _ = export_run(run, ExportSettings(out=out / "bundle"))
    test = load_dataset("digits", image_size=SIDE).test
    images = test.batch(np.arange(8), bundle.manifest.preprocess)
    classifier = Classifier.open(bundle.path, use_thresholds=False)
    _, logits = classifier.logits(images)
    np.savez_compressed(out / "expected.npz", images=images, labels=test.labels[:8], logits=logits)


def write_device(out: Path) -> None:
    """Let a device do all that a ledger can hold, and keep what it wrote; seal and sign a copy of the bundle."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        state = DeviceState(root / "state", FileFloor(root / "floor"))
        authority, signer = PrivateKey.create(root / "authority.pem"), PrivateKey.create(root / "signer.pem")
        bundle = Path(shutil.copytree(out / "bundle", root / "bundle"))
        old = shutil.copytree(bundle, root / "old")
        trust(state, authority.public)
        adopt(Bundle.open(bundle, state=state))
        receipt = forget(bundle, ["3"], request="golden", state=state).receipt
        with contextlib.suppress(TombstoneError):
            Bundle.open(old, state=state)
        restore(state, authorize(Receipt.of(state.ledger().entries[3]), authority))
        device = out / "device"
        device.mkdir()
        for file in (state.ledger_path, state.path / "device.pub", Path(receipt)):
            shutil.copy(file, device / file.name)
        sealed = Path(shutil.copytree(out / "bundle", out / "sealed" / "bundle"))
        whole = Bundle.open(out / "bundle", state=state)
        rows, keys = seal(whole.bank())
        manifest = replace(whole.manifest, sealed=True)
        (sealed / "manifest.json").write_bytes(manifest.to_bytes())
        (sealed / "bank.safetensors").write_bytes(rows.to_bytes())
        Bundle(sealed, manifest).sign(signer)
        write_keys(sealed.with_name("keys.json"), manifest.model_id, keys)
        for file in (root / "signer.pub", out / "expected.npz"):
            shutil.copy(file, sealed.parent)


def main() -> None:
    """Write the bundle of one guarantee, or what a device writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--guarantee", choices=tuple(GUARANTEES), default="shared")
    parser.add_argument("--device", action="store_true", help="what a device writes, of the bundle that is there")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.device:
        write_device(options.out)
    else:
        write_bundle(options.out, options.guarantee)


if __name__ == "__main__":
    main()
