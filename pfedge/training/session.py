"""What every training begins and ends with, whatever its guarantee.

session = TrainingSession.open(config, settings, console)
model = ...                                             # of session.backbone and session.class_ids
run = session.create_run()
with session.working("stopping ...") as (progress, stop):
    ...                                                 # train; stop where stop.requested
return run, session.finish(run, ...)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from pfedge.backbone import Backbone, Embedding, describe_embedding, load_backbone
from pfedge.compute import choose_autocast, choose_device
from pfedge.data import Dataset, Split, load_dataset
from pfedge.errors import DataError
from pfedge.interrupt import StopRequest
from pfedge.progress import bars
from pfedge.runs import UNREADABLE, EpochRecord, Metrics, Run, RunConfig, TrainConfig
from pfedge.training.metrics import accuracy_of, confusion_matrix
from pfedge.training.plots import plot_confusion, plot_training
from pfedge.training.settings import TrainSettings
from pfedge.version import versions
from pfedge_runtime.inputs import Preprocess

SAVE_SECONDS = 300.0

FEW = 20  # below so many validation inputs the 5 % quantile is the lowest score


@dataclass(frozen=True)
class TrainingSession:
    """One training, from its data to its figures.

    Attributes:
        config: what is learned.
        settings: how.
        console: where progress is shown.
        device: where torch computes.
        autocast: in which precision.
        backbone: the frozen transformer.
        dataset: what is trained on: without the classes excluded, and no more than asked for.
        class_ids: the classes that have something to train on; each gets a row.
        unreadable: files that were left out, as the data set names them -> what is wrong with them.
    """

    config: TrainConfig
    settings: TrainSettings
    console: Console
    device: torch.device
    autocast: torch.autocast
    backbone: Backbone
    dataset: Dataset
    class_ids: tuple[int, ...]
    unreadable: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, config: TrainConfig, settings: TrainSettings, console: Console) -> TrainingSession:
        """Load backbone and data set, seed torch, and write nothing yet.

        Raises:
            PfedgeError: the device, backbone or data set cannot be used, or no class is left to train on.
        """
        device = choose_device(settings.device, settings.gpu_id)
        autocast = choose_autocast(settings.precision, device)
        torch.manual_seed(config.seed)
        backbone = load_backbone(config.model_name, image_size=config.image_size, preprocessor=config.preprocessor)
        dataset = open_dataset(config, settings, backbone)
        for note in dataset.notes:
            console.print(note, highlight=False, soft_wrap=True, markup=False)
        unreadable = find_unreadable(dataset, backbone.preprocess, console)
        if unreadable and not settings.skip_unreadable:
            message = (
                f"{len(unreadable)} files of {dataset.name} cannot be used: {'; '.join(unreadable.values())}. "
                "Mend or remove them, or train without them: --skip-unreadable"
            )
            raise DataError(message)
        dataset = dataset.without(unreadable)
        class_ids = require_classes(dataset)
        return cls(config, settings, console, device, autocast, backbone, dataset, class_ids, unreadable)

    def create_run(self, embedding: Embedding | None = None) -> Run:
        """Begin the run folder, or go on with an interrupted run of the same configuration.

        Args:
            embedding: of the backbone, where rows are made of it.

        Raises:
            RunError: the folder holds a run already, or there is none to resume.
        """
        described = RunConfig(
            train=self.config.remembered(),
            dataset_name=self.dataset.name,
            classes=self.dataset.classes,
            class_ids=self.class_ids,
            backbone_digest=self.backbone.digest,
            made_by=versions("pfedge", "torch", "transformers", "peft"),
            embedding=None if embedding is None else describe_embedding(embedding),
        )
        own = self.settings
        run = Run.create(own.out, described, resume=own.resume, overwrite=own.overwrite)
        run.write_unreadable(self.unreadable)
        return run

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def announce(self, what: str) -> None:
        """Print what is about to be trained, and which classes get no row."""
        dataset = self.dataset
        self.say(f"{dataset.name}: {what}")
        if self.unreadable:
            self.say(f"{len(self.unreadable)} files cannot be used and are left out: see {UNREADABLE} in the run")
        excluded = [dataset.class_id(text) for text in self.config.exclude]
        for class_id, name in enumerate(dataset.classes):
            if class_id in excluded:
                self.say(f"class {class_id} ({name}) is excluded: it gets no row")
            elif class_id not in self.class_ids:
                self.say(f"class {class_id} ({name}) has nothing to train on: it gets no row")

    def warn_of_few(self) -> None:
        """Print which classes have too few validation inputs for a threshold, and what follows for it."""
        labels = self.dataset.val.labels
        few = {class_id: int((labels == class_id).sum()) for class_id in self.class_ids}
        few = {class_id: count for class_id, count in few.items() if count < FEW}
        if few:
            named = ", ".join(f"{self.dataset.classes[class_id]} {count}" for class_id, count in few.items())
            least = min(few.values())
            follows = f"about 1 of {least + 1} further inputs of a class with {least} will be abstained on, not 1 of 20"
            if least == 0:
                follows = "a row without any accepts everything"
            self.say(
                f"warning: fewer than {FEW} validation inputs: {named}; their threshold is the lowest of their scores: "
                f"{follows}"
            )

    @contextmanager
    def working(self, stopping: str) -> Iterator[tuple[Progress, StopRequest]]:
        """Show progress bars, and turn Ctrl-C into a request to stop soon, answered by the text `stopping`."""
        with ExitStack() as stack:
            progress = stack.enter_context(bars(self.console))
            yield progress, stack.enter_context(StopRequest(partial(self.console.print, stopping)))

    def prepared(self, split: Split, name: str, progress: Progress) -> Split:
        """Return a split whose inputs are decoded once, where they fit in memory."""
        bar = progress.add_task(f"decoding {name}", total=len(split))
        ready = split.prepared(self.backbone.preprocess, _completed(progress, bar))
        progress.remove_task(bar)
        return ready

    def measure(
        self,
        labels: NDArray[np.int64],
        predicted: NDArray[np.int64],
        trained_parameters: dict[str, int],
        seconds: float,
        history: tuple[EpochRecord, ...] = (),
        **more: Any,  # noqa: ANN401 -- what only some guarantees measure, checked by `Metrics`
    ) -> Metrics:
        """Return the metrics of a training that is over.

        Args:
            labels: class ids of the test inputs whose class has a row, int64 `[N]`.
            predicted: class ids that the full bank gives them, int64 `[N]`.
            trained_parameters: see `Metrics`.
            seconds: what training took.
            history: one record an epoch.
            more: further fields of `Metrics`.
        """
        matrix = confusion_matrix(labels, predicted, classes=len(self.dataset.classes))
        return Metrics(
            history=history,
            test_accuracy=accuracy_of(matrix),
            confusion=matrix.tolist(),
            train_seconds=round(seconds, 3),
            trained_parameters=trained_parameters,
            **more,
        )

    def plot(self, run: Run, metrics: Metrics) -> None:
        """Draw how training went, beside the run."""
        if metrics.history:
            plot_training(run.folder, metrics.history)
        plot_confusion(run.folder / "confusion.png", np.array(metrics.confusion), self.dataset.classes)


def open_dataset(config: TrainConfig, settings: TrainSettings, backbone: Backbone) -> Dataset:
    """Load what is trained on: without the classes excluded, and no more than asked for.

    Raises:
        DataError: it cannot be used, or is of another kind than the backbone takes.
        UnknownClassError: a class excluded is not among its classes.
    """
    dataset = load_dataset(
        config.dataset,
        image_size=backbone.image_size,
        data_root=settings.data_root,
        size=config.size,
        train_split=config.train_split,
        test_fold=config.test_fold,
        source_column=config.source_column,
        classes=config.classes,
        download=settings.download,
    )
    dataset.require_kind(backbone.preprocess, backbone=backbone.name)
    excluded = [dataset.class_id(text) for text in config.exclude]
    sample = dataset.train.sample(config.train_limit, config.seed)  # first: without a class means the same others
    return replace(
        dataset,
        train=sample.where(~np.isin(sample.labels, excluded)),
        val=dataset.val.sample(config.val_limit, config.seed),
        test=dataset.test.sample(config.test_limit, config.seed),
    )


def find_unreadable(dataset: Dataset, preprocess: Preprocess, console: Console) -> dict[str, str]:
    """Decode every file of a data set, and return the names of those that cannot be used -> what is wrong."""
    found: dict[str, str] = {}
    with bars(console) as progress:
        for name, split in dataset.splits.items():
            if split.files is not None:
                bar = progress.add_task(f"checking {name}", total=len(split))
                broken = split.unreadable(preprocess, _completed(progress, bar))
                found |= {dataset.file_name(file): str(error) for file, error in broken.items()}
    return found


def require_classes(dataset: Dataset) -> tuple[int, ...]:
    """Return the class ids that have at least one training input.

    Raises:
        DataError: there is none.
    """
    class_ids = dataset.present()
    if not class_ids:
        message = f"no class is left to train on in {dataset.name}"
        raise DataError(message)
    return class_ids


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Return the seed of one step: distinct, and a function of (seed, epoch, step) alone."""
    # halved: torch takes a signed number of 64 bits
    return int(np.random.SeedSequence((seed, epoch, step)).generate_state(1, np.uint64)[0] >> 1)


def _completed(progress: Progress, bar: Any) -> Callable[[int], None]:  # noqa: ANN401 -- rich's TaskID
    return lambda done: progress.update(bar, completed=done)
