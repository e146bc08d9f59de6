"""Evaluating a run that has prompt modes (`shared`): each of them, and a pass for every subset that is forgotten."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pfedge.compute import choose_autocast, choose_device
from pfedge.data import Dataset
from pfedge.evaluation.files import write_json
from pfedge.evaluation.forgetting import ForgettingAtK, evaluate_forgetting
from pfedge.evaluation.plots import plot_forgetting
from pfedge.evaluation.settings import EvalSettings
from pfedge.guarantees import RowLabels
from pfedge.guarantees.shared import MODES, PromptBankModel, accuracy_by_mode
from pfedge.progress import bars
from pfedge.runs import Run
from pfedge.training import shorten

NAME_LENGTH = 16


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

    def show(self, console: Console) -> None:
        """Print tables."""
        if self.modes:
            table = Table(title=f"{self.name}: accuracy on {self.inputs} test inputs")
            for heading in ("prompt mode", "accuracy", "rows shown"):
                table.add_column(heading, justify="right" if heading == "accuracy" else "left")
            for mode in MODES:
                note = (
                    f"{mode.meaning} [dim](diagnostic: needs the true label)[/]" if mode.needs_label else mode.meaning
                )
                table.add_row(mode.name, f"{self.modes[mode.name]:.3f}", note)
            console.print(table)
        if self.forgetting:
            table = Table(title="Accuracy after forgetting k classes, mean (std) over the subsets")
            for heading in ("k", "subsets", "counted", "forgotten", "retained", "worst forgotten"):
                table.add_column(heading, justify="left" if heading in {"counted", "worst forgotten"} else "right")
            for result in self.forgetting:
                worst = result.worst()
                names = ", ".join(shorten(self.classes[class_id], NAME_LENGTH) for class_id in worst.forgotten)
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
        for path in self.written:
            console.print(f"written: {path}", highlight=False, soft_wrap=True)


def evaluate_modes(
    run: Run, model: PromptBankModel, dataset: Dataset, settings: EvalSettings, console: Console
) -> Evaluation:
    """Measure a model in every prompt mode, and under every bank that is asked for.

    Args:
        run: names the files.
        model: its model.
        dataset: what it is tested on.
        settings: what is measured.
        console: where progress is shown.
    """
    device, train = choose_device(settings.device, settings.gpu_id), run.config.train
    model.to(device)
    labels = RowLabels(model.class_ids)
    common: dict[str, Any] = {
        "autocast": choose_autocast(settings.precision, device),
        "seed": train.seed if settings.seed is None else settings.seed,
        "batch_size": settings.batch_size,
    }
    test = dataset.test.only(model.class_ids).sample(settings.limit)
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
    evaluation = Evaluation(f"{dataset.name}_seed_{train.seed}", dataset.classes, len(test), modes, tuple(results))
    return replace(evaluation, written=_write(evaluation, settings.save_dir or run.folder))


def _write(evaluation: Evaluation, folder: Path) -> tuple[Path, ...]:
    """Write what was found, in our layout and in the reference's, and draw it; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    name, results = evaluation.name, evaluation.forgetting
    written = [folder / f"{name}_evaluation.json"]
    write_json(written[0], evaluation.to_json())
    if results:
        written += [folder / f"{name}_inference_accuracies.json", folder / f"{name}_forgetting.png"]
        write_json(written[1], {str(result.k): result.reference_layout() for result in results})
        plot_forgetting(written[2], results)
    return tuple(written)


def _pair(numbers: dict[str, float], which: str) -> str:
    return f"{numbers[which + '_mean']:.3f} ({numbers[which + '_std']:.3f})"
