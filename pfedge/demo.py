"""The demonstration: every step of a model's life, on digits, with what it cost and what it did."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from pfedge.data import Split, load_dataset
from pfedge.exporting import ExportSettings, export_run
from pfedge.guarantees import SharedConfig, train
from pfedge.training import TrainSettings
from pfedge_runtime.bundle import Bundle
from pfedge_runtime.classifier import Classifier, Prediction
from pfedge_runtime.device import DeviceState, FileFloor
from pfedge_runtime.errors import TombstoneError
from pfedge_runtime.files import require_vacant
from pfedge_runtime.forgetting import forget
from pfedge_runtime.receipts import Receipt


def run_demo(out: Path, *, epochs: int, digit: str, console: Console) -> None:
    """Train on digits with `builtin:micro`, export, forget `digit`, and print what happened.

    Raises:
        PfedgeError: the folder is taken, or a step failed.
    """
    require_vacant(out)
    clock = [time.perf_counter()]
    console.rule("train")
    config = SharedConfig(dataset="digits", model_name="builtin:micro", epochs=epochs, batch_size=16, lr=2e-3)
    run, _ = train(
        config, TrainSettings(out=out / "run", save_dir=out / "run", eval_every=max(1, epochs // 3)), console
    )
    clock.append(time.perf_counter())
    console.rule("export")
    bundle, parity = export_run(run, ExportSettings(out=out / "bundle", parity_inputs=0), on_progress=console.print)
    clock.append(time.perf_counter())

    test = load_dataset("digits", image_size=28).test
    images = test.batch(np.arange(len(test)), bundle.manifest.preprocess)
    forgotten = bundle.manifest.find_class(digit)
    sample = out / f"a_{forgotten.name}.png"
    Image.fromarray(images[np.flatnonzero(test.labels == forgotten.id)[0]]).save(sample)
    device = DeviceState((out / "device").absolute(), FileFloor((out / "device.floor").absolute()))
    classifier = Classifier.open(bundle.path, state=device)
    backup = shutil.copytree(bundle.path, out / "backup")
    console.rule(f"predict, forget class {forgotten.name}, predict again")
    before, one_before = classifier.predict(images), next(classifier.predict_files([sample]))
    outcome = forget(bundle.path, [digit], state=device)
    after, one_after = classifier.predict(images), next(classifier.predict_files([sample]))

    retained = test.labels != forgotten.id
    landed = [prediction for prediction, keep in zip(after, retained, strict=True) if not keep]
    named: dict[str, int] = {}
    for prediction in landed:
        key = "abstained" if prediction.abstained else f"called {prediction.name}"
        named[key] = named.get(key, 0) + 1
    kept_before, kept_after = _accuracy(before, test, retained), _accuracy(after, test, retained)
    table = Table(title="What happened", show_header=False)
    table.add_row(f"accuracy before, {len(test)} test images", f"{_accuracy(before, test, retained | True):.3f}")
    table.add_row(f"accuracy on images of a {forgotten.name} before", f"{_accuracy(before, test, ~retained):.3f}")
    table.add_row("accuracy on the other classes before", f"{kept_before:.3f}")
    table.add_row("accuracy on the other classes after", f"{kept_after:.3f} ({kept_after - kept_before:+.3f})")
    table.add_row(
        f"the {len(landed)} images of a {forgotten.name} now",
        ", ".join(f"{count} {what}" for what, count in sorted(named.items(), key=lambda item: -item[1])),
    )
    table.add_row(f"{sample.name} before", _say(one_before))
    table.add_row(f"{sample.name} after", _say(one_after))
    table.add_row("training", f"{clock[1] - clock[0]:.1f} s")
    table.add_row("export, with parity on every test image", f"{clock[2] - clock[1]:.1f} s")
    table.add_row("forgetting", f"{outcome.milliseconds:.1f} ms")
    table.add_row("the old bundle put back", _put_back(backup, device))
    receipt = Receipt.verify(Path(outcome.receipt).read_bytes(), [device.public_key()], source=outcome.receipt)
    table.add_row("receipt, verified", f"of {receipt.time}, ledger of {receipt.ledger_lines} lines")
    worst = max(bank.largest_difference for bank in parity.banks)
    table.add_row("largest logit difference, torch against ONNX Runtime", f"{worst:.1e}")
    table.add_row("run folder (metrics, plots)", str(run.folder))
    table.add_row("bundle", str(bundle.path))
    console.print(table)
    where = f"PFEDGE_STATE_DIR={device.path} PFEDGE_FLOOR_FILE={device.path.with_suffix('.floor')}"
    console.print(f"Try: {where} pfedge predict {sample} --bundle {bundle.path}", highlight=False, soft_wrap=True)


def _accuracy(predictions: list[Prediction], split: Split, chosen: NDArray[np.bool_]) -> float:
    """Return the share of chosen images whose best row is the true class, abstained on or not."""
    best = np.array([prediction.class_id for prediction in predictions])
    return float((best == split.labels)[chosen].mean())


def _put_back(backup: Path, device: DeviceState) -> str:
    try:
        Bundle.open(backup, state=device)
    except TombstoneError:
        return "refused"
    return "accepted"


def _say(prediction: Prediction) -> str:
    if prediction.abstained:
        return f"abstained; closest: {prediction.name} ({prediction.reason})"
    return f"{prediction.name}, {prediction.probability:.3f} of the rows left"
