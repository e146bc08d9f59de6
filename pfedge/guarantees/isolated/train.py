"""Training under guarantee `isolated`: rows alone, on what the frozen backbone made of the data once.

    run, metrics = train_isolated(TrainConfig(dataset="bloodmnist", guarantee="isolated"), settings, console)

The loss is cross-entropy over the rows plus half a one-vs-rest term (binary cross-entropy of each row's own logit), so
that a row's score means the same whatever else is in the bank. Nothing is propagated back through the input's tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from pfedge.backbone.backbone import load_backbone
from pfedge.backbone.embedding import EmbeddingSpec, describe_embedding
from pfedge.compute import choose_autocast, choose_device
from pfedge.data import Split
from pfedge.data.views import views
from pfedge.errors import DataError
from pfedge.evaluation.forgetting import RowLabels
from pfedge.guarantees.isolated.model import IsolatedModel
from pfedge.guarantees.isolated.token_cache import Looks, LookSource
from pfedge.guarantees.shared.train import Settings, TrainConfig, describe_run, open_dataset, step_seed
from pfedge.interrupt import StopRequest, TrainingInterruptedError
from pfedge.progress import bars
from pfedge.runs.run import Run, TrainState
from pfedge.training import plots
from pfedge.training.calibration import calibration_split, set_thresholds

ONE_VS_REST = 0.5
LR = 1e-2
LOOK_BATCH = 64


def train_isolated(config: TrainConfig, settings: Settings, console: Console) -> tuple[Run, dict[str, Any]]:
    """Train rows and write a run folder; return it and its metrics.

    Raises:
        PfedgeError: the data set, backbone, device or run folder cannot be used.
        TrainingInterruptedError: Ctrl-C; the last finished epoch is saved, and `resume` continues from it.
    """
    device = choose_device(settings.device, settings.gpu_id)
    autocast = choose_autocast(settings.precision, device)
    torch.manual_seed(config.seed)
    backbone = load_backbone(config.model_name, image_size=config.image_size)
    dataset = open_dataset(config, settings, backbone)
    class_ids = dataset.present()
    if not class_ids:
        message = f"no class is left to train on in {dataset.name}"
        raise DataError(message)
    spec = EmbeddingSpec(config.embedding_blocks, config.embedding_dim or 0)
    model = IsolatedModel(backbone, class_ids=class_ids, tokens_per_class=config.tokens_per_class, spec=spec).to(device)
    labels = RowLabels(class_ids)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=config.lr or LR)
    described = describe_run(config, dataset, class_ids, backbone) | {"embedding": describe_embedding(model.embedding)}
    run = Run.create(settings.out, described, resume=settings.resume, overwrite=settings.overwrite)
    state = run.load_state(model, optimizer) if settings.resume else TrainState(1, 0, [])
    val = calibration_split(dataset.val, labels, config.seed)
    test = dataset.test.only(class_ids)
    with ExitStack() as stack:
        progress = stack.enter_context(bars(console))
        stop = stack.enter_context(StopRequest(lambda: console.print("stopping after this step ...")))
        caches = []
        for split, name in ((views(dataset.train, config.views, config.seed), "training"), (val, "validation")):
            cache = Looks(model, split, run.folder, place=settings.cache)
            stack.callback(cache.close)
            caches.append(cache)
            console.print(
                f"{dataset.name}: {len(split)} {name} inputs; keys and values: {cache.place}; {device}",
                highlight=False,
                soft_wrap=True,
            )
        begun = time.perf_counter()
        for cache in caches:
            _fill(cache, progress, stop, run)
        cached = time.perf_counter() - begun
        epochs = progress.add_task("epochs", total=config.epochs, completed=state.epoch - 1)
        while state.epoch <= config.epochs:
            started = time.perf_counter()
            loss = Epochs(model, optimizer, caches[0], dataset.train.labels, config, autocast).run(
                state.epoch, partial(_stop_if_asked, stop, run)
            )
            seconds = time.perf_counter() - started
            scores, own = _logits(model, caches[1], autocast), labels.positions(val.labels).numpy()
            set_thresholds(model, scores, own)
            run.save_checkpoint(model, settings.save_dir, state.epoch, keep=settings.keep)
            accuracy = _accuracy(scores, own)
            record = {"epoch": state.epoch, "loss": loss, "seconds": seconds, "accuracy": {"full_bank": accuracy}}
            console.print(
                f"epoch {state.epoch:>3}  loss {loss:.4f}  {seconds:.0f} s  validation accuracy {accuracy:.3f}",
                highlight=False,
                soft_wrap=True,
            )
            state = TrainState(state.epoch + 1, 0, [*state.history, record])
            run.save_state(model, optimizer, state)
            progress.advance(epochs)
    logits = isolated_logits(model, test, console)
    matrix = np.zeros((len(dataset.classes), len(dataset.classes)), dtype=np.int64)
    np.add.at(matrix, (test.labels, np.array(class_ids)[logits.argmax(1)]), 1)
    metrics = {
        "history": state.history,
        "test_accuracy": float(np.trace(matrix) / max(1, matrix.sum())),
        "confusion": matrix.tolist(),
        "cache": caches[0].place,
        "cache_seconds": round(cached, 3),
        "train_seconds": round(cached + sum(record["seconds"] for record in state.history), 3),
        "trained_parameters": model.trained_parameters(),
    }
    run.finish(model, metrics)
    plots.training(run.folder, metrics, dataset.classes)
    return run, metrics


def isolated_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return cross-entropy plus half the one-vs-rest term, of logits `[B, R]` and bank positions `[B]`."""
    one_hot = F.one_hot(target, logits.shape[1]).to(logits.dtype)
    return F.cross_entropy(logits, target) + ONE_VS_REST * F.binary_cross_entropy_with_logits(logits, one_hot)


@torch.no_grad()
def isolated_logits(
    model: IsolatedModel, split: Split, console: Console, keep: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Return logits `[N, R]` of a split in float32, under all rows or those at positions `keep`."""
    model.eval()
    chunks = []
    with bars(console) as progress:
        bar = progress.add_task("scoring", total=len(split))
        for start in range(0, len(split), LOOK_BATCH):
            index = np.arange(start, min(start + LOOK_BATCH, len(split)))
            inputs = torch.from_numpy(split.batch(index, model.backbone.preprocess)).to(model.prompts.device)
            chunks.append(model(inputs, keep).float().cpu().numpy())
            progress.advance(bar, len(index))
    return np.concatenate(chunks) if chunks else np.zeros((0, len(model.class_ids)), dtype=np.float32)


def _fill(cache: Looks, progress: Progress, stop: StopRequest, run: Run) -> None:
    bar = progress.add_task("caching keys and values", total=len(cache), visible=cache.place != "none")

    def advance(done: int) -> None:
        progress.update(bar, completed=done)
        if stop.requested:
            raise TrainingInterruptedError(run.folder)

    cache.fill(advance)
    progress.remove_task(bar)


@dataclass(frozen=True)
class Epochs:
    """What the epochs of one training share.

    Attributes:
        model: whose rows are trained.
        optimizer: of its rows.
        looks: what the backbone makes of each training input, and of further views of all of them behind.
        ids: int64 `[N]`, class ids.
        config: the recipe.
        autocast: the precision.
    """

    model: IsolatedModel
    optimizer: torch.optim.Optimizer
    looks: LookSource
    ids: NDArray[np.int64]
    config: TrainConfig
    autocast: AbstractContextManager[Any]

    def run(self, epoch: int, before_step: Callable[[], None] = lambda: None) -> float:
        """Take one epoch's steps and return the mean loss; random choices are those of (seed, epoch) alone."""
        model, config, labels = self.model, self.config, RowLabels(self.model.class_ids)
        model.train()
        rng = np.random.default_rng((config.seed, epoch))
        order = rng.permutation(len(self.ids))
        shown = order + len(self.ids) * rng.integers(config.views, size=len(self.ids))
        torch.manual_seed(step_seed(config.seed, epoch, 0))
        total = 0.0
        batches = np.split(order, range(config.batch_size, len(order), config.batch_size))
        for step, index in enumerate(batches):
            before_step()
            seen = shown[step * config.batch_size :][: len(index)]
            done = (epoch - 1 + step / len(batches)) / config.epochs
            self.optimizer.param_groups[0]["lr"] = (config.lr or LR) * (1 + math.cos(math.pi * done)) / 2
            target = labels.positions(self.ids[index]).to(model.prompts.device)
            with self.autocast:
                logits = model.score(self.looks.batch(seen))
            loss = isolated_loss(logits.float(), target)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()
            total += loss.item()
        return total / len(batches)


def _stop_if_asked(stop: StopRequest, run: Run) -> None:
    if stop.requested:
        raise TrainingInterruptedError(run.folder)


@torch.no_grad()
def _logits(model: IsolatedModel, cache: Looks, autocast: AbstractContextManager[Any]) -> NDArray[np.float32]:
    """Return logits `[N, R]` of cached inputs."""
    model.eval()
    chunks = []
    for start in range(0, len(cache), LOOK_BATCH):
        with autocast:
            scores = model.score(cache.batch(np.arange(start, min(start + LOOK_BATCH, len(cache)))))
        chunks.append(scores.float().cpu().numpy())
    return np.concatenate(chunks) if chunks else np.zeros((0, len(model.class_ids)), dtype=np.float32)


def _accuracy(logits: NDArray[np.float32], target: NDArray[np.int64]) -> float:
    return float((logits.argmax(axis=1) == target).mean()) if len(target) else 0.0
