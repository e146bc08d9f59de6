"""`pfedge eval`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.extras import needs
from pfedge.cli.options import DataRootOption, DataTypeOption, require_data_type
from pfedge.cli.output import print_json
from pfedge.cli.recovery import finish_decided
from pfedge_runtime.errors import UsageError

REDIRECTED_WIDTH = 160  # in a file or a pipe no column is too many


def evaluate(
    run: Annotated[
        Path | None,
        typer.Argument(help="A run folder, a checkpoint (also one of the reference), or a bundle.", show_default=False),
    ] = None,
    *,
    ckpt: Annotated[Path | None, typer.Option(help="The same, in the reference's spelling.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Data set to test on.", show_default="the run's")] = None,
    model_name: Annotated[
        str | None, typer.Option(help="Where the backbone is now.", show_default="where it was in training")
    ] = None,
    data_root: DataRootOption = None,
    save_dir: Annotated[Path | None, typer.Option(help="Where results go.", show_default="beside the run")] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many test images; 0: all.")] = 0,
    max_subsets: Annotated[
        int, typer.Option(min=0, help="Above so many subsets of a size, a random sample of them; 0: never.")
    ] = 1000,
    k: Annotated[
        list[int] | None, typer.Option(help="How many classes to forget; repeatable.", show_default="1, K/2, K-1")
    ] = None,
    modes: Annotated[bool, typer.Option(help="Measure accuracy in every prompt mode.")] = True,
    forgetting: Annotated[bool, typer.Option(help="Measure forgetting.")] = True,
    seed: Annotated[int | None, typer.Option(help="Of random subsets.", show_default="the run's")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<i>.")] = "auto",
    gpu_id: Annotated[int, typer.Option(min=0, help="Which GPU --device auto takes, where there is one.")] = 0,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    download: Annotated[bool, typer.Option(help="Fetch a missing MedMNIST file.")] = True,
    data_type: DataTypeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Measure accuracy in every prompt mode, and what forgetting does to every subset of classes.

    Forgetting is counted in two ways: "prompt dropped only" is the paper's (the head still has all K outputs),
    "row dropped" is what `pfedge forget` does (the class has no output left).

    Of an isolated or exact run every subset of every size (or of --k) is evaluated from one pass, and what is
    abstained on. It has no prompt modes.

    A bundle is measured as it is deployed, with the rows that its bank still has: accuracy, abstention, and what
    inputs of forgotten classes are called. Give --dataset then.
    """
    chosen = run or ckpt
    if chosen is None or (run and ckpt):
        message = "give one run folder or checkpoint: pfedge eval RUN"
        raise UsageError(message)
    with needs("train", "eval"):
        from rich.console import Console

        from pfedge.data import data_kind, load_dataset
        from pfedge.evaluation import EvalSettings, evaluate_bundle, evaluate_run
    if dataset:
        require_data_type(data_type, data_kind(dataset), dataset)
    console, tables = Console(stderr=True), Console(width=None if sys.stdout.isatty() else REDIRECTED_WIDTH)
    if (chosen / "manifest.json").is_file():
        if dataset is None:
            message = "a bundle does not say where its test data are: give --dataset"
            raise UsageError(message)
        finish_decided(chosen)
        from pfedge_runtime.classifier import Classifier

        classifier = Classifier.open(chosen, device="cpu" if device == "auto" else device, batch_size=batch_size)
        side = getattr(classifier.bundle.manifest.preprocess, "height", None)
        data = load_dataset(dataset, image_size=side, data_root=data_root, download=download)
        outcome = evaluate_bundle(classifier, data, console, limit=limit)
        if as_json:
            print_json(outcome.to_json())
        else:
            outcome.show(tables)
        return
    settings = EvalSettings(
        dataset=dataset,
        model_name=model_name,
        data_root=data_root,
        save_dir=save_dir,
        limit=limit,
        max_subsets=max_subsets,
        sizes=tuple(k or ()),
        modes=modes,
        forgetting=forgetting,
        seed=seed,
        device=device,
        gpu_id=gpu_id,
        precision=precision,
        batch_size=batch_size,
        download=download,
    )
    evaluation = evaluate_run(chosen, settings, console)
    if as_json:
        print_json(evaluation.to_json())
    else:
        evaluation.show(tables)
