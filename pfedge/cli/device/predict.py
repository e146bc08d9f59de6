"""`pfedge predict`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pfedge.cli.options import BundleOption, DeviceOption, FrameOption, MaxPixelsOption, choose_bundle, parse_frame
from pfedge.cli.output import print_json, remark, say, suggest
from pfedge.cli.recovery import warn
from pfedge_runtime.errors import PfedgeError

if TYPE_CHECKING:
    from pfedge_runtime.classifier import Prediction
    from pfedge_runtime.inputs import LeftOut


def predict(
    paths: Annotated[
        list[Path], typer.Argument(help="Images, DICOM files (extra dicom), sounds (extra audio), or folders of them.")
    ],
    *,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as the process may use.")] = 0,
    min_probability: Annotated[
        float, typer.Option(min=0, max=1, help="Abstain below this probability, whatever the rows accept.")
    ] = 0.0,
    thresholds: Annotated[bool, typer.Option(help="Abstain where no row's own threshold is reached.")] = True,
    frame: FrameOption = None,
    max_pixels: MaxPixelsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, with every row's score.")] = False,
) -> None:
    """Predict the class of images or sounds, among the rows that the bundle still has.

    A line an input: its path, its class, and the share of the class among the rows that are left, which is no
    calibrated probability: a class without a row has none of it. Abstained means that the best row's score is below
    what it accepts: no decision should be made. A path that cannot be read is reported, under --json as an object with
    schema pfedge-error/1, and left out; the exit code is then 1.
    """
    asked = parse_frame(frame)
    bundle = choose_bundle(None, bundle)
    from pfedge_runtime.classifier import Classifier

    classifier = Classifier.open(
        bundle,
        device=device,
        threads=threads,
        batch_size=batch_size,
        min_probability=min_probability,
        use_thresholds=thresholds,
        on_unfinished=warn,
    )
    counts = Counter[str]()

    def report(error: PfedgeError) -> None:
        counts["unreadable"] += 1
        if as_json:
            print_json("error", {"source": error.source, "error": str(error)})
        else:
            say(f"error: {error}", err=True)

    def say_left_out(left_out: LeftOut) -> None:
        if said := left_out.describe():
            say(said, err=True)

    found = classifier.predict_files(
        paths, frame=asked, max_pixels=max_pixels, on_error=report, on_left_out=say_left_out
    )
    for prediction in found:
        counts["abstained" if prediction.abstained else "named"] += 1
        if as_json:
            print_json("predict", prediction.to_json())
        else:
            _show(prediction)
    if not as_json:
        remark(_summary(counts))
    if counts["unreadable"]:
        raise typer.Exit(1)
    if not as_json:
        suggest("inspect --bundle", bundle)


def _summary(counts: Counter[str]) -> str:
    """Return how many inputs there were, and how many of them were abstained on or could not be read."""
    inputs = "1 input" if counts.total() == 1 else f"{counts.total()} inputs"
    share = "; the last column is the share among the rows left, uncalibrated" if counts["named"] else ""
    return f"{inputs}, {counts['abstained']} abstained, {counts['unreadable']} unreadable{share}"


def _show(prediction: Prediction) -> None:
    """Print a prediction: path, class, share; of one that was abstained on the closest class, and why."""
    if prediction.abstained:
        say(str(prediction.source), f"abstained; closest: {prediction.name}", prediction.reason)
    else:
        said = f"{prediction.class_id} {prediction.name}"
        say(str(prediction.source), said, f"{prediction.probability:.3f}")
