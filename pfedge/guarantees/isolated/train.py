"""Training under guarantee `isolated`: rows alone, on what the frozen backbone made of the data once.

    run, metrics = train_isolated(IsolatedConfig(dataset="bloodmnist"), settings, console)

The loss is cross-entropy over the rows plus half a one-vs-rest term (binary cross-entropy of each row's own logit), so
that a row's score means the same whatever else is in the bank. Nothing is propagated back through the input's tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
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

from pfedge.backbone import EmbeddingSpec
from pfedge.data import Split, several_views
from pfedge.guarantees.isolated.model import IsolatedModel
from pfedge.guarantees.isolated.token_cache import KeyValueSource, TokenCache
from pfedge.guarantees.rows import RowLabels
from pfedge.interrupt import StopRequest, TrainingInterruptedError
from pfedge.progress import bars
from pfedge.runs import EpochRecord, Metrics, Run, TrainConfig
from pfedge.training import (
    TrainingSession,
    TrainSettings,
    TrainState,
    calibration_split,
    load_state,
    save_state,
    set_thresholds,
    step_seed,
)

ONE_VS_REST = 0.5
LR = 1e-2
BATCH = 64
Logits = NDArray[np.float32]


def train_isolated(config: TrainConfig, settings: TrainSettings, console: Console) -> tuple[Run, Metrics]:
    """Train rows and write a run folder; see `Guarantee.train`. What is saved is the last finished epoch."""
    session = TrainingSession.open(config, settings, console)
    class_ids, dataset, autocast = session.class_ids, session.dataset, session.autocast
    spec = EmbeddingSpec(config.embedding_blocks, config.embedding_dim or 0)
    model = IsolatedModel(
        session.backbone, class_ids=class_ids, tokens_per_class=config.tokens_per_class, spec=spec
    ).to(session.device)
    optimizer = new_optimizer(model, config)
    run = session.create_run(model.embedding)
    state = load_state(run, model, optimizer) if settings.resume else TrainState()
    session.announce(f"{len(class_ids)} rows of {config.tokens_per_class} tokens, backbone {session.backbone.name}")
    shown = several_views(dataset.train, config.views, config.seed)
    val = calibration_split(dataset.val, class_ids, config.seed)
    own = RowLabels(class_ids).positions(val.labels).numpy()
    with session.working("stopping after this step ...") as (progress, stop), ExitStack() as caches:
        train_cache, val_cache = (
            caches.enter_context(TokenCache(model, split, run.folder, place=settings.cache)) for split in (shown, val)
        )
        begun = time.perf_counter()
        for cache, name in ((train_cache, "training"), (val_cache, "validation")):
            session.say(f"{dataset.name}: {len(cache)} {name} inputs; keys and values: {cache.place}; {session.device}")
            _fill(cache, progress, stop, run)
        cached = time.perf_counter() - begun
        epochs = Epochs(model, optimizer, train_cache, dataset.train.labels, config, autocast)
        bar = progress.add_task("epochs", total=config.epochs, completed=state.epoch - 1)
        while state.epoch <= config.epochs:
            started = time.perf_counter()
            loss = epochs.run(state.epoch, partial(_stop_if_asked, stop, run))
            seconds = time.perf_counter() - started
            logits = _cached_logits(model, val_cache, autocast)
            set_thresholds(model.threshold, logits, own)
            run.save_checkpoint(model.trained_state(), settings.save_dir, state.epoch, keep=settings.keep)
            accuracy = float((logits.argmax(axis=1) == own).mean()) if len(own) else 0.0
            session.say(f"epoch {state.epoch:>3}  loss {loss:.4f}  {seconds:.0f} s  validation accuracy {accuracy:.3f}")
            record = EpochRecord(state.epoch, loss, seconds, {"full_bank": accuracy})
            state = TrainState(state.epoch + 1, 0, (*state.history, record))
            save_state(run, model, optimizer, state)
            progress.advance(bar)
    test = dataset.test.only(class_ids)
    predicted = np.array(class_ids)[isolated_logits(model, test, console).argmax(1)]
    metrics = session.measure(
        test.labels,
        predicted,
        model.trained_parameters(),
        cached + sum(record.seconds for record in state.history),
        state.history,
        cache=train_cache.place,
        cache_seconds=round(cached, 3),
    )
    run.finish(model.trained_state(), metrics)
    session.plot(run, metrics)
    return run, metrics


def new_optimizer(model: IsolatedModel, config: TrainConfig) -> torch.optim.Adam:
    """Return Adam over the rows."""
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=config.lr or LR)


@dataclass(frozen=True)
class Epochs:
    """What the epochs of one training share.

    Attributes:
        model: whose rows are trained.
        optimizer: of its rows.
        frozen: what the backbone makes of each training input, and of further views of all of them behind.
        ids: int64 `[N]`, class ids.
        config: the recipe.
        autocast: the precision.
    """

    model: IsolatedModel
    optimizer: torch.optim.Optimizer
    frozen: KeyValueSource
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
                logits = model.score(self.frozen.batch(seen))
            loss = isolated_loss(logits.float(), target)
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()
            total += loss.item()
        return total / len(batches)


def isolated_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return cross-entropy plus half the one-vs-rest term, of logits `[B, R]` and bank positions `[B]`."""
    one_hot = F.one_hot(target, logits.shape[1]).to(logits.dtype)
    return F.cross_entropy(logits, target) + ONE_VS_REST * F.binary_cross_entropy_with_logits(logits, one_hot)


@torch.no_grad()
def isolated_logits(model: IsolatedModel, split: Split, console: Console, keep: Sequence[int] | None = None) -> Logits:
    """Return logits `[N, R]` of a split in float32, under all rows or those at positions `keep`."""
    model.eval()
    chunks = []
    with bars(console) as progress:
        bar = progress.add_task("scoring", total=len(split))
        for index in _batches(len(split)):
            inputs = torch.from_numpy(split.batch(index, model.backbone.preprocess)).to(model.prompts.device)
            chunks.append(model(inputs, keep).float().cpu().numpy())
            progress.advance(bar, len(index))
    return _whole(chunks, model)


@torch.no_grad()
def _cached_logits(model: IsolatedModel, cache: TokenCache, autocast: AbstractContextManager[Any]) -> Logits:
    """Return logits `[N, R]` of cached inputs."""
    model.eval()
    chunks = []
    for index in _batches(len(cache)):
        with autocast:
            scores = model.score(cache.batch(index))
        chunks.append(scores.float().cpu().numpy())
    return _whole(chunks, model)


def _fill(cache: TokenCache, progress: Progress, stop: StopRequest, run: Run) -> None:
    """Run the backbone over all inputs that a cache is of."""
    bar = progress.add_task("caching keys and values", total=len(cache), visible=cache.place != "none")

    def advance(done: int) -> None:
        progress.update(bar, completed=done)
        _stop_if_asked(stop, run)

    cache.fill(advance)
    progress.remove_task(bar)


def _stop_if_asked(stop: StopRequest, run: Run) -> None:
    if stop.requested:
        raise TrainingInterruptedError(run.folder)


def _batches(count: int) -> Iterator[NDArray[np.int64]]:
    return (np.arange(start, min(start + BATCH, count)) for start in range(0, count, BATCH))


def _whole(chunks: Sequence[Logits], model: IsolatedModel) -> Logits:
    return np.concatenate(chunks) if chunks else np.zeros((0, len(model.class_ids)), dtype=np.float32)
