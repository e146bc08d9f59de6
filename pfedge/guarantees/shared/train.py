"""Training a prompt-bank model, guarantee `shared`, as arXiv 2509.15230 does.

    run, metrics = train(TrainConfig(dataset="bloodmnist"), Settings(out=folder, save_dir=folder), console)

Per batch the model is asked twice. Shown a `mixed_subset` of rows, the true one among them, it must name the
class (cross-entropy); shown a `wrong_subset`, it must know nothing (KL divergence to the uniform
distribution). What a class is thereby comes to lie in its row.

Every random choice of a step is drawn from (seed, epoch, step) alone, so that an interrupted run, resumed,
ends where an uninterrupted one ends.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress, TaskID
from torch import Tensor

from pfedge.backbone.backbone import DEFAULT_BACKBONES, Backbone, load_backbone
from pfedge.compute import choose_autocast, choose_device, computes_bf16
from pfedge.data import Dataset, Split, load_dataset
from pfedge.errors import DataError
from pfedge.evaluation.forgetting import RowLabels, accuracy_by_mode, confusion_matrix
from pfedge.guarantees.shared.model import PromptBankModel
from pfedge.guarantees.shared.prompting import choose_rows
from pfedge.interrupt import StopRequest, TrainingInterruptedError
from pfedge.progress import bars
from pfedge.runs.run import Run, TrainState
from pfedge.training import plots
from pfedge.training.calibration import calibrate, calibration_split
from pfedge.version import versions
from pfedge_runtime.errors import UsageError
from pfedge_runtime.inputs import Preprocess

GUARANTEE = "shared"
LR = 1e-3
SAVE_SECONDS = 300.0


@dataclass(frozen=True)
class TrainConfig:
    """All that decides what a run learns.

    Attributes:
        dataset: a data set's name or path (see `pfedge.data`).
        model_name: the backbone: hub name, local folder or `builtin:micro`.
        guarantee: what forgetting shall promise.
        tokens_per_class: T, prompt tokens of a row.
        epochs: passes over the training split.
        batch_size: samples a step.
        lr: Adam's learning rate; None is 1e-3, under `isolated` 1e-2, which falls to zero along a cosine.
        seed: of every random choice.
        image_size: side in pixels; None is the backbone's own.
        size: MedMNIST file size; None fits the image size.
        train_split: `train` or `val`.
        test_fold: the fold to test on, where the data set has folds; None is the last.
        exclude: classes (ids or names) trained without, as if they had never been.
        train_limit: at most so many training images; 0 is all.
        embedding_blocks: `isolated` and `exact`: after which blocks; empty is every second one from the middle.
        embedding_dim: `isolated` and `exact`: E; 0 is all that the blocks give, None is that under `isolated` and 768
            under `exact`, whose rows grow with its square.
        shrinkage: `exact`: share of the identity in the pooled covariance.
        source_column: `exact`: keep rows apart by this column of the data set.
        views: `isolated`: how many views of each training image there are: itself, then random crops and mirrors.
    """

    dataset: str = "bloodmnist"
    model_name: str = DEFAULT_BACKBONES["image"]
    guarantee: str = GUARANTEE
    tokens_per_class: int = 1
    epochs: int = 10
    batch_size: int = 32
    lr: float | None = None
    seed: int = 42
    image_size: int | None = None
    size: int | None = None
    train_split: str = "train"
    test_fold: int | None = None
    exclude: tuple[str, ...] = ()
    train_limit: int = 0
    embedding_blocks: tuple[int, ...] = ()
    embedding_dim: int | None = None
    shrinkage: float = 0.1
    source_column: str | None = None
    views: int = 1


@dataclass(frozen=True)
class Settings:
    """How a run is carried out; none of it changes what is learned, but for rounding.

    Attributes:
        out: the run folder.
        save_dir: where checkpoints and accuracies go.
        data_root: where MedMNIST files lie.
        download: fetch missing MedMNIST files.
        device: a torch device, or `auto`.
        gpu_id: which GPU `auto` takes where there is one.
        precision: `auto`, `fp32` or `bf16`.
        resume: continue an interrupted run.
        overwrite: replace a run that the folder already holds.
        keep: how many of the last epoch checkpoints stay; 0 keeps all.
        eval_every: epochs between looks at every mode; the last epoch is always looked at.
        eval_limit: images of each such look; 0 is all.
        eval_split: the split looked at.
        cache: `isolated`: where keys and values are kept: `auto`, `memory`, `disk` or `none` (computed every epoch).
    """

    out: Path
    save_dir: Path
    data_root: Path | None = None
    download: bool = True
    device: str = "auto"
    gpu_id: int = 0
    precision: str = "auto"
    resume: bool = False
    overwrite: bool = False
    keep: int = 3
    eval_every: int = 1
    eval_limit: int = 200
    eval_split: str = "val"
    cache: str = "auto"


def open_dataset(config: TrainConfig, settings: Settings, backbone: Backbone) -> Dataset:
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
        download=settings.download,
    )
    dataset.require_kind(backbone.preprocess, backbone=backbone.name)
    excluded = [dataset.class_id(text) for text in config.exclude]
    sample = dataset.train.sample(config.train_limit, config.seed)  # first: without a class means the same others
    return replace(dataset, train=sample.where(~np.isin(sample.labels, excluded)))


def train(config: TrainConfig, settings: Settings, console: Console) -> tuple[Run, dict[str, Any]]:
    """Train a model and write its run folder; return it and what stands in its metrics.json.

    Raises:
        PfedgeError: the data set, backbone, device or run folder cannot be used.
        TrainingInterruptedError: Ctrl-C; the state is saved, and `resume` continues from it.
    """
    if settings.eval_split not in {"val", "test"}:
        message = f"unknown evaluation split {settings.eval_split!r}: choose val or test"
        raise UsageError(message)
    device = choose_device(settings.device, settings.gpu_id)
    autocast = choose_autocast(settings.precision, device)
    torch.manual_seed(config.seed)
    backbone = load_backbone(config.model_name, image_size=config.image_size)
    if computes_bf16(autocast) and device.type == "cpu":
        backbone.spell_out_attention()
    dataset = open_dataset(config, settings, backbone)
    kept = dataset.present()
    if not kept:
        message = f"no class is left to train on in {dataset.name}"
        raise DataError(message)
    model = PromptBankModel(backbone, class_ids=kept, tokens_per_class=config.tokens_per_class).to(device)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=config.lr or LR)
    labels = RowLabels(kept)
    with bars(console) as progress, StopRequest(lambda: console.print("stopping after this step ...")) as stop:
        train_split, val, test = _prepare(dataset, labels, config.seed, backbone.preprocess, progress)
        look = (val if settings.eval_split == "val" else test).sample(settings.eval_limit, config.seed)
        run = Run.create(
            settings.out,
            describe_run(config, dataset, model.class_ids, backbone),
            resume=settings.resume,
            overwrite=settings.overwrite,
        )
        state = run.load_state(model, optimizer) if settings.resume else TrainState(1, 0, [])
        _announce(console, dataset, model, config, state, device, autocast)
        training = _Training(run, model, optimizer, train_split, labels, config, autocast, progress, stop)
        epochs = progress.add_task("epochs", total=config.epochs, completed=state.epoch - 1)
        while state.epoch <= config.epochs:
            state = _epoch(training, state)
            run.save_state(model, optimizer, state)
            epoch, record = state.epoch, state.history[-1]
            calibrate(model, val, labels, autocast)
            run.save_checkpoint(model, settings.save_dir, epoch, keep=settings.keep)
            if epoch % settings.eval_every == 0 or epoch == config.epochs:
                record["accuracy"] = accuracy_by_mode(
                    model, look, labels, seed=config.seed, autocast=autocast, progress=progress
                )
                run.write_accuracies(settings.save_dir, state.history)
            console.print(_line(record), highlight=False, soft_wrap=True)
            state = TrainState(epoch + 1, 0, state.history)
            run.save_state(model, optimizer, state)
            progress.advance(epochs)
        matrix = confusion_matrix(model, test, labels, classes=len(dataset.classes), autocast=autocast)
    metrics = {
        "history": state.history,
        "test_accuracy": float(np.trace(matrix) / max(1, matrix.sum())),
        "confusion": matrix.tolist(),
        "train_seconds": round(sum(record["seconds"] for record in state.history), 3),
        "trained_parameters": model.trained_parameters(),
    }
    run.finish(model, metrics)
    plots.training(run.folder, metrics, dataset.classes)
    return run, metrics


@dataclass(frozen=True)
class _Training:
    """What every epoch of one training shares."""

    run: Run
    model: PromptBankModel
    optimizer: torch.optim.Optimizer
    split: Split
    labels: RowLabels
    config: TrainConfig
    autocast: torch.autocast
    progress: Progress
    stop: StopRequest


def _epoch(training: _Training, state: TrainState) -> TrainState:
    """Take the steps that are left of one epoch; save the state every five minutes and when asked to stop."""
    model, optimizer, split, config = training.model, training.optimizer, training.split, training.config
    model.train()
    order = np.random.default_rng((config.seed, state.epoch)).permutation(len(split))
    batches = np.split(order, range(config.batch_size, len(order), config.batch_size))
    fresh = {"epoch": state.epoch, "loss": 0.0, "seconds": 0.0}
    *before, record = state.history if state.step else [*state.history, fresh]  # resumed, or begun
    name = f"epoch {state.epoch}/{config.epochs}"
    bar = training.progress.add_task(name, total=len(batches), completed=state.step)
    saved = time.monotonic()
    for step, index in enumerate(batches[state.step :], start=state.step + 1):
        started = time.perf_counter()
        seed = step_seed(config.seed, state.epoch, step)
        torch.manual_seed(seed)  # for LoRA's dropout
        inputs = torch.from_numpy(split.batch(index, model.backbone.preprocess)).to(model.prompts.device)
        target = training.labels.positions(split.labels[index])
        with training.autocast:
            loss = shared_loss(model, inputs, target, torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        mean = record["loss"] + (loss.item() - record["loss"]) / step
        seconds = record["seconds"] + time.perf_counter() - started
        record = {"epoch": state.epoch, "loss": mean, "seconds": seconds}
        state = TrainState(state.epoch, step, [*before, record])
        training.progress.update(bar, completed=step, description=f"{name} loss {mean:.3f}")
        if training.stop.requested or time.monotonic() - saved > SAVE_SECONDS:
            training.run.save_state(model, optimizer, state)
            saved = time.monotonic()
        if training.stop.requested:
            raise TrainingInterruptedError(training.run.folder)
    training.progress.remove_task(bar)
    return state


def shared_loss(model: PromptBankModel, inputs: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    """Return the loss of arXiv 2509.15230: cross-entropy when the true row is shown, else KL to uniform.

    Args:
        model: the model.
        inputs: images uint8 `[B, H, W, 3]`, or features float32 `[B, frames, mels]`.
        target: int64 `[B]`, bank positions of the true rows, on the CPU.
        generator: draws the subsets.
    """
    size = len(model.class_ids)
    mixed = choose_rows("mixed_subset", target, bank_size=size, generator=generator)
    wrong = choose_rows("wrong_subset", target, bank_size=size, generator=generator)
    tokens = model.backbone.embed(inputs)
    known = F.cross_entropy(model.score(tokens, mixed).float(), target.to(inputs.device))
    unknown = F.log_softmax(model.score(tokens, wrong).float(), dim=-1)
    uniform = torch.full_like(unknown, 1 / size)
    return known + F.kl_div(unknown, uniform, reduction="batchmean")


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Return the seed of one step: distinct, and a function of (seed, epoch, step) alone."""
    return int(np.random.SeedSequence((seed, epoch, step)).generate_state(1, np.uint64)[0] >> 1)


def config_of(described: dict[str, Any]) -> TrainConfig:
    """Return the configuration that a run remembers, as `describe_run` gave it."""
    lists = {key: tuple(described[key]) for key in ("exclude", "embedding_blocks")}
    return TrainConfig(**{**described, **lists})


def describe_run(
    config: TrainConfig, dataset: Dataset, class_ids: tuple[int, ...], backbone: Backbone
) -> dict[str, Any]:
    """Return what a run must remember."""
    return {
        "train": json.loads(json.dumps(asdict(config))),
        "dataset_name": dataset.name,
        "classes": list(dataset.classes),
        "class_ids": list(class_ids),
        "backbone_digest": backbone.digest,
        "made_by": versions("pfedge", "torch", "transformers", "peft"),
    }


def _announce(
    console: Console,
    dataset: Dataset,
    model: PromptBankModel,
    config: TrainConfig,
    state: TrainState,
    device: torch.device,
    autocast: torch.autocast,
) -> None:
    """Say what is about to be trained, and which classes get no row."""
    excluded = [dataset.class_id(text) for text in config.exclude]
    plural = "sounds" if dataset.kind == "audio" else "images"
    precision = "bf16" if computes_bf16(autocast) else "fp32"
    console.print(
        f"{dataset.name}: {len(dataset.train)} training {plural}, {len(model.class_ids)} rows, "
        f"backbone {model.backbone.name} ({model.backbone.preprocess.describe()}), {device} {precision}",
        highlight=False,
        soft_wrap=True,
    )
    for class_id, name in enumerate(dataset.classes):
        if class_id in excluded:
            console.print(f"class {class_id} ({name}) is excluded: it gets no row", highlight=False, soft_wrap=True)
        elif class_id not in model.class_ids:
            console.print(
                f"class {class_id} ({name}) has nothing to train on: it gets no row", highlight=False, soft_wrap=True
            )
    if (state.epoch, state.step) != (1, 0):
        console.print(f"resuming in epoch {state.epoch} after step {state.step}", highlight=False, soft_wrap=True)


def _prepare(
    dataset: Dataset, labels: RowLabels, seed: int, preprocess: Preprocess, progress: Progress
) -> tuple[Split, Split, Split]:
    """Return the splits to train on, to calibrate on and to report, with what they need decoded once."""
    val = calibration_split(dataset.val, labels, seed)
    prepared = []
    for name, split in (("train", dataset.train), ("val", val), ("test", dataset.test.only(labels.class_ids))):
        bar = progress.add_task(f"decoding {name}", total=len(split))
        prepared.append(split.prepared(preprocess, partial(_completed, progress, bar)))
        progress.remove_task(bar)
    train_split, val, test = prepared
    return train_split, val, test


def _completed(progress: Progress, bar: TaskID, done: int) -> None:
    progress.update(bar, completed=done)


def _line(record: dict[str, Any]) -> str:
    parts = [f"epoch {record['epoch']:>3}", f"loss {record['loss']:.4f}", f"{record['seconds']:.0f} s"]
    parts += [f"{mode} {accuracy:.3f}" for mode, accuracy in record.get("accuracy", {}).items()]
    return "  ".join(parts)
