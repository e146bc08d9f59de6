"""`pfedge predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pfedge.cli.options import BundleOption, DeviceOption, FrameOption, MaxPixelsOption, choose_bundle, parse_frame
from pfedge.cli.output import print_json, say
from pfedge.cli.recovery import warn
from pfedge_runtime.errors import PfedgeError

if TYPE_CHECKING:
    from pfedge_runtime.inputs import LeftOut


def predict(
    paths: Annotated[
        list[Path], typer.Argument(help="Images, DICOM files (extra dicom), sounds (extra audio), or folders of them.")
    ],
    *,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as there are cores.")] = 0,
    min_probability: Annotated[
        float, typer.Option(min=0, max=1, help="Abstain below this probability, whatever the rows accept.")
    ] = 0.0,
    thresholds: Annotated[bool, typer.Option(help="Abstain where no row's own threshold is reached.")] = True,
    frame: FrameOption = None,
    max_pixels: MaxPixelsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, with every row's score.")] = False,
) -> None:
    """Predict the class of images or sounds, among the rows that the bundle still has.

    A path that cannot be read is reported and left out; the exit code is then 1. Abstained means that the best
    row's score is below what it accepts: no decision should be made.
    """
    asked = parse_frame(frame)
    from pfedge_runtime.classifier import Classifier

    classifier = Classifier.open(
        choose_bundle(None, bundle),
        device=device,
        threads=threads,
        batch_size=batch_size,
        min_probability=min_probability,
        use_thresholds=thresholds,
        on_unfinished=warn,
    )
    unreadable = 0

    def report(error: PfedgeError) -> None:
        nonlocal unreadable
        unreadable += 1
        say(f"error: {error}", err=True)

    def say_left_out(left_out: LeftOut) -> None:
        if said := left_out.describe():
            say(said, err=True)

    found = classifier.predict_files(
        paths, frame=asked, max_pixels=max_pixels, on_error=report, on_left_out=say_left_out
    )
    for prediction in found:
        if as_json:
            print_json(prediction.to_json())
        elif prediction.abstained:
            say(str(prediction.source), "abstained", prediction.reason)
        else:
            said = f"{prediction.class_id} {prediction.name}"
            say(str(prediction.source), said, f"{prediction.probability:.3f}")
    if unreadable:
        raise typer.Exit(1)
