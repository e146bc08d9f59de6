"""`pfedge eval`: evaluate a run, write the results, show them as tables."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pfedge import import_reference as reference
from pfedge.compute import choose_autocast, choose_device
from pfedge.data import Dataset
from pfedge.errors import DataError
from pfedge.evaluation.every_subset import IndependentScores, Scores, SubsetEvaluation, evaluate_every_subset
from pfedge.evaluation.forgetting import ForgettingAtK, RowLabels, accuracy_by_mode, evaluate_forgetting
from pfedge.guarantees.exact.model import ExactModel, embed_split
from pfedge.guarantees.isolated.model import IsolatedModel
from pfedge.guarantees.isolated.train import isolated_logits
from pfedge.guarantees.shared.model import PromptBankModel
from pfedge.guarantees.shared.prompting import MODES
from pfedge.progress import bars
from pfedge.runs.run import Model, Run
from pfedge.training import plots
from pfedge_runtime.errors import UsageError
from pfedge_runtime.files import finite, write_atomic

NAME_LENGTH = 16


@dataclass(frozen=True)
class EvalSettings:
    """What is evaluated, on what; see `pfedge eval --help`."""

    dataset: str | None = None
    model_name: str | None = None
    data_root: Path | None = None
    save_dir: Path | None = None
    limit: int = 0
    max_subsets: int = 1000
    sizes: tuple[int, ...] = ()
    modes: bool = True
    forgetting: bool = True
    seed: int | None = None
    device: str = "auto"
    gpu_id: int = 0
    precision: str = "auto"
    batch_size: int = 32
    download: bool = True


@dataclass(frozen=True)
class Evaluation:
    """The outcome.

    Attributes:
        name: `<dataset>_seed_<seed>`.
        classes: all class names.
        inputs: test inputs used.
        modes: accuracy in each prompt mode; empty if not asked for.
        forgetting: one entry per k; empty if not asked for.
        written: the files written.
    """

    name: str
    classes: tuple[str, ...]
    inputs: int
    modes: dict[str, float]
    forgetting: tuple[ForgettingAtK, ...]
    written: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "name": self.name,
            "inputs": self.inputs,
            "modes": self.modes,
            "forgetting": {
                str(result.k): {
                    "subsets": len(result.subsets),
                    "possible": result.possible,
                    "prompt_dropped_only": result.reference_layout(),
                    "row_dropped": result.row_dropped(),
                    "worst": vars(result.worst()),
                    "each": [vars(subset) for subset in result.subsets],
                }
                for result in self.forgetting
            },
        }


def evaluate_run(path: Path, settings: EvalSettings, console: Console) -> Evaluation | OnePassEvaluation:
    """Evaluate a run or checkpoint, also one of the reference, on its test split and write what was found.

    Writes `<name>_inference_accuracies.json` in the reference's layout, `<name>_evaluation.json` with every
    subset and both ways of counting, and `<name>_forgetting.png`.

    Raises:
        PfedgeError: the run, its backbone or the data set cannot be used.
    """
    device = choose_device(settings.device, settings.gpu_id)
    autocast = choose_autocast(settings.precision, device)
    run, model, dataset = _open(path, settings, console)
    train = run.config["train"]
    dataset.require_kind(model.backbone.preprocess, backbone=model.backbone.name)
    if dataset.classes != tuple(run.config["classes"]):
        message = f"{dataset.name} has classes {list(dataset.classes)}, the run has {run.config['classes']}"
        raise DataError(message)
    if not isinstance(model, PromptBankModel):
        return _evaluate_once(run, model, dataset, settings, console)
    model.to(device)
    labels = RowLabels(model.class_ids)
    seed = train["seed"] if settings.seed is None else settings.seed
    test = dataset.test.only(model.class_ids).sample(settings.limit)
    common: dict[str, Any] = {"autocast": autocast, "seed": seed, "batch_size": settings.batch_size}
    with bars(console) as progress:
        bar = progress.add_task("decoding", total=len(test))
        test = test.prepared(model.backbone.preprocess, lambda done: progress.update(bar, completed=done))
        modes = accuracy_by_mode(model, test, labels, progress=progress, **common) if settings.modes else {}
        results = (
            evaluate_forgetting(
                model, test, labels, sizes=settings.sizes, limit=settings.max_subsets, progress=progress, **common
            )
            if settings.forgetting
            else []
        )
    folder = settings.save_dir or run.folder
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{dataset.name}_seed_{train['seed']}"
    evaluation = Evaluation(name, dataset.classes, len(test), modes, tuple(results))
    written = [folder / f"{name}_evaluation.json"]
    write_atomic(written[0], _pretty(evaluation.to_json()))
    if results:
        written.append(folder / f"{name}_inference_accuracies.json")
        write_atomic(written[-1], _pretty({str(result.k): result.reference_layout() for result in results}))
        written.append(folder / f"{name}_forgetting.png")
        plots.forgetting(written[-1], results)
    return Evaluation(**{**vars(evaluation), "written": tuple(written)})


@dataclass(frozen=True)
class OnePassEvaluation:
    """The outcome for a run whose subsets are all evaluated from one pass.

    Attributes:
        name: `<dataset>_seed_<seed>`.
        classes: all class names.
        inputs: test inputs used.
        pass_seconds: what the one pass over them took.
        outcome: what was found.
        written: the files written.
    """

    name: str
    classes: tuple[str, ...]
    inputs: int
    pass_seconds: float
    outcome: SubsetEvaluation
    written: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        about = {"name": self.name, "inputs": self.inputs, "pass_seconds": round(self.pass_seconds, 3)}
        return about | self.outcome.to_json()


def _evaluate_once(
    run: Run, model: IsolatedModel | ExactModel, dataset: Dataset, settings: EvalSettings, console: Console
) -> OnePassEvaluation:
    """Run the backbone over the test split once and evaluate every subset from that."""
    if not settings.forgetting:
        message = (
            f"an {run.config['train']['guarantee']} run has no prompt modes: there is nothing but forgetting to measure"
        )
        raise UsageError(message)
    device = choose_device(settings.device, settings.gpu_id)
    test = dataset.test.only(model.class_ids).sample(settings.limit)
    started = time.perf_counter()
    scores: Scores
    if isinstance(model, IsolatedModel):
        scores = IndependentScores(model.bank(), isolated_logits(model.to(device), test, console))
    else:
        model.embedding.to(device)
        scores = Scores(model.bank(), np.concatenate([part for _, part in embed_split(model.embedding, test)]))
    seconds = time.perf_counter() - started
    with bars(console) as progress:
        bar = progress.add_task("forgetting every subset", total=None)
        outcome = evaluate_every_subset(
            scores,
            test.labels,
            sizes=settings.sizes,
            limit=settings.max_subsets,
            seed=run.config["train"]["seed"] if settings.seed is None else settings.seed,
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    evaluation = OnePassEvaluation(run.name, dataset.classes, len(test), seconds, outcome)
    folder = settings.save_dir or run.folder
    folder.mkdir(parents=True, exist_ok=True)
    written = (folder / f"{run.name}_evaluation.json", folder / f"{run.name}_forgetting.png")
    write_atomic(written[0], _pretty(evaluation.to_json()))
    plots.every_subset(written[1], outcome)
    return OnePassEvaluation(**{**vars(evaluation), "written": written})


def _show_one_pass(evaluation: OnePassEvaluation, console: Console) -> None:
    outcome = evaluation.outcome
    count = sum(map(len, outcome.subsets.values()))
    console.print(
        f"{evaluation.name}: accuracy {outcome.accuracy:.3f} on {evaluation.inputs} test inputs, "
        f"{outcome.accepted:.3f} of them accepted; one pass {evaluation.pass_seconds:.1f} s, "
        f"{count} forget sets {outcome.seconds:.1f} s",
        highlight=False,
        soft_wrap=True,
    )
    table = Table(title="Accuracy on the others after forgetting k classes, over the subsets")
    for heading in ("k", "subsets", "mean (std)", "worst"):
        table.add_column(heading, justify="right")
    for k, numbers in outcome.to_json()["forgetting"].items():
        mean = f"{numbers['retain_mean']:.3f} ({numbers['retain_std']:.3f})"
        table.add_row(k, f"{numbers['subsets']} of {numbers['possible']}", mean, f"{numbers['worst']['retained']:.3f}")
    console.print(table)
    table = Table(title="Each class forgotten alone: what is abstained on")
    for heading in ("class", "AUROC", "its inputs abstained on", "others accepted", "abstained on at 95 % accepted"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for one in outcome.abstention:
        shares = (one.auroc, one.abstained, one.accepted, one.abstained_at_95)
        table.add_row(f"{one.class_id} {evaluation.classes[one.class_id]}", *(f"{share:.3f}" for share in shares))
    if outcome.abstention:
        means = np.array([(a.auroc, a.abstained, a.accepted, a.abstained_at_95) for a in outcome.abstention]).mean(0)
        table.add_row("mean", *(f"{mean:.3f}" for mean in means))
    console.print(table)
    for path in evaluation.written:
        console.print(f"written: {path}", highlight=False, soft_wrap=True)


def _open(path: Path, settings: EvalSettings, console: Console) -> tuple[Run, Model, Dataset]:
    """Open a run, a checkpoint of one, or a checkpoint of the reference."""
    if path.suffix == reference.SUFFIX:
        own = path.with_suffix(".safetensors")
        if not path.exists() and own.exists():
            console.print(f"there is no {path}; evaluating {own} in its place", highlight=False, soft_wrap=True)
            path = own
        else:
            source = reference.ImportSettings(
                dataset=settings.dataset or reference.ImportSettings.dataset,
                model_name=settings.model_name or reference.ImportSettings.model_name,
                seed=settings.seed,
                data_root=settings.data_root,
                download=settings.download,
            )
            return reference.open_checkpoint(path, source)
    run = Run.open(path)
    model = run.load_model(settings.model_name)
    dataset = run.load_dataset(
        model.backbone.image_size,
        dataset=settings.dataset,
        data_root=settings.data_root,
        download=settings.download,
    )
    return run, model, dataset


def show(evaluation: Evaluation | OnePassEvaluation, console: Console) -> None:
    """Print an evaluation as tables."""
    if isinstance(evaluation, OnePassEvaluation):
        _show_one_pass(evaluation, console)
        return
    if evaluation.modes:
        table = Table(title=f"{evaluation.name}: accuracy on {evaluation.inputs} test inputs")
        for heading in ("prompt mode", "accuracy", "rows shown"):
            table.add_column(heading, justify="right" if heading == "accuracy" else "left")
        for mode in MODES:
            note = f"{mode.meaning} [dim](diagnostic: needs the true label)[/]" if mode.needs_label else mode.meaning
            table.add_row(mode.name, f"{evaluation.modes[mode.name]:.3f}", note)
        console.print(table)
    if evaluation.forgetting:
        table = Table(title="Accuracy after forgetting k classes, mean (std) over the subsets")
        for heading in ("k", "subsets", "counted", "forgotten", "retained", "worst forgotten"):
            table.add_column(heading, justify="left" if heading in {"counted", "worst forgotten"} else "right")
        for result in evaluation.forgetting:
            worst = result.worst()
            names = ", ".join(plots.shorten(evaluation.classes[class_id], NAME_LENGTH) for class_id in worst.forgotten)
            by_prompt, by_row = result.reference_layout(), result.row_dropped()
            subsets = f"{len(result.subsets)} of {result.possible}"
            table.add_row(
                str(result.k),
                subsets,
                "prompt dropped only",
                _pair(by_prompt, "forget"),
                _pair(by_prompt, "retain"),
                f"{worst.forget_prompt:.3f} ({names}; own probability {worst.own_probability:.2f})",
            )
            table.add_row("", "", "row dropped", "no output", _pair(by_row, "retain"), "", end_section=True)
        console.print(table)
    for path in evaluation.written:
        console.print(f"written: {path}", highlight=False, soft_wrap=True)


def _pair(numbers: dict[str, float], which: str) -> str:
    return f"{numbers[which + '_mean']:.3f} ({numbers[which + '_std']:.3f})"


def _pretty(value: Any) -> bytes:  # noqa: ANN401 -- JSON
    return (json.dumps(finite(value), indent=2, allow_nan=False) + "\n").encode()
