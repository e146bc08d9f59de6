"""Evaluating a run of whose every subset one pass over the test inputs tells (`isolated`, `exact`)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pfedge.compute import choose_device
from pfedge.data import Dataset
from pfedge.evaluation.every_subset import SubsetEvaluation, evaluate_every_subset
from pfedge.evaluation.files import write_json
from pfedge.evaluation.plots import plot_every_subset
from pfedge.evaluation.settings import EvalSettings
from pfedge.guarantees import Model, guarantee_of
from pfedge.progress import bars
from pfedge.runs import Run
from pfedge_runtime.errors import UsageError


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

    def show(self, console: Console) -> None:
        """Print tables."""
        outcome = self.outcome
        count = sum(map(len, outcome.subsets.values()))
        console.print(
            f"{self.name}: accuracy {outcome.accuracy:.3f} on {self.inputs} test inputs, "
            f"{outcome.accepted:.3f} of them accepted; one pass {self.pass_seconds:.1f} s, "
            f"{count} forget sets {outcome.seconds:.1f} s",
            highlight=False,
            soft_wrap=True,
        )
        table = Table(title="Accuracy on the others after forgetting k classes, over the subsets")
        for heading in ("k", "subsets", "mean (std)", "worst"):
            table.add_column(heading, justify="right")
        for k, numbers in outcome.to_json()["forgetting"].items():
            mean = f"{numbers['retain_mean']:.3f} ({numbers['retain_std']:.3f})"
            table.add_row(
                k, f"{numbers['subsets']} of {numbers['possible']}", mean, f"{numbers['worst']['retained']:.3f}"
            )
        console.print(table)
        table = Table(title="Each class forgotten alone: what is abstained on")
        for heading in (
            "class",
            "AUROC",
            "its inputs abstained on",
            "others accepted",
            "abstained on at 95 % accepted",
        ):
            table.add_column(heading, justify="left" if heading == "class" else "right")
        for one in outcome.abstention:
            shares = (one.auroc, one.abstained, one.accepted, one.abstained_at_95)
            table.add_row(f"{one.class_id} {self.classes[one.class_id]}", *(f"{share:.3f}" for share in shares))
        if outcome.abstention:
            means = np.array([(a.auroc, a.abstained, a.accepted, a.abstained_at_95) for a in outcome.abstention]).mean(
                0
            )
            table.add_row("mean", *(f"{mean:.3f}" for mean in means))
        console.print(table)
        for path in self.written:
            console.print(f"written: {path}", highlight=False, soft_wrap=True)


def evaluate_once(
    run: Run, model: Model, dataset: Dataset, settings: EvalSettings, console: Console
) -> OnePassEvaluation:
    """Run the backbone over test inputs once and evaluate every subset from that.

    Raises:
        UsageError: forgetting is not asked for: there is nothing else to measure.
    """
    guarantee = guarantee_of(run)
    if not settings.forgetting:
        message = f"an {guarantee.name} run has no prompt modes: there is nothing but forgetting to measure"
        raise UsageError(message)
    test = dataset.test.only(model.class_ids).sample(settings.limit)
    started = time.perf_counter()
    scores = guarantee.scores(model.to(choose_device(settings.device, settings.gpu_id)), test, console)
    seconds = time.perf_counter() - started
    with bars(console) as progress:
        bar = progress.add_task("forgetting every subset", total=None)
        outcome = evaluate_every_subset(
            scores,
            test.labels,
            sizes=settings.sizes,
            limit=settings.max_subsets,
            seed=run.config.train.seed if settings.seed is None else settings.seed,
            on_progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    evaluation = OnePassEvaluation(run.name, dataset.classes, len(test), seconds, outcome)
    folder = settings.save_dir or run.folder
    folder.mkdir(parents=True, exist_ok=True)
    written = (folder / f"{run.name}_evaluation.json", folder / f"{run.name}_forgetting.png")
    write_json(written[0], evaluation.to_json())
    plot_every_subset(written[1], outcome)
    return replace(evaluation, written=written)
