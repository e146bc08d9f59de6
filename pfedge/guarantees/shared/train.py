"""Training a prompt-bank model, guarantee `shared`, as arXiv 2509.15230 does.

    run, metrics = train_shared(SharedConfig(dataset="bloodmnist"), settings, console)

Per batch the model is asked twice. Shown a `mixed_subset` of rows, the true one among them, it must name the
class (cross-entropy); shown a `wrong_subset`, it must know nothing (KL divergence to the uniform
distribution). What a class is thereby comes to lie in its row.

Every random choice of a step is drawn from (seed, epoch, step) alone, so that an interrupted run, resumed,
ends where an uninterrupted one ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from pfedge.compute import computes_bf16
from pfedge.data import Split
from pfedge.guarantees.rows import RowLabels
from pfedge.guarantees.shared.model import PromptBankModel
from pfedge.guarantees.shared.modes import accuracy_by_mode, calibrate, predicted_classes
from pfedge.guarantees.shared.prompting import choose_rows
from pfedge.interrupt import StopRequest, TrainingInterruptedError
from pfedge.runs import EpochRecord, Metrics, Run, TrainConfig
from pfedge.training import (
    SAVE_SECONDS,
    TrainingSession,
    TrainSettings,
    TrainState,
    calibration_split,
    load_state,
    save_state,
    step_seed,
)

LR = 1e-3


def train_shared(config: TrainConfig, settings: TrainSettings, console: Console) -> tuple[Run, Metrics]:
    """Train rows and LoRA and write a run folder; see `Guarantee.train`."""
    session = TrainingSession.open(config, settings, console)
    class_ids, dataset, autocast = session.class_ids, session.dataset, session.autocast
    if computes_bf16(autocast) and session.device.type == "cpu":
        session.backbone.spell_out_attention()
    model = PromptBankModel(session.backbone, class_ids=class_ids, tokens_per_class=config.tokens_per_class)
    model.to(session.device)
    optimizer = new_optimizer(model, config)
    with session.working("stopping after this step ...") as (progress, stop):
        train = session.prepared(dataset.train, "train", progress)
        val = session.prepared(calibration_split(dataset.val, class_ids, config.seed), "val", progress)
        test = session.prepared(dataset.test.only(class_ids), "test", progress)
        shown = (val if settings.eval_split == "val" else test).sample(settings.eval_limit, config.seed)
        run = session.create_run()
        state = load_state(run, model, optimizer) if settings.resume else TrainState()
        session.announce(_describe(session))
        if (state.epoch, state.step) != (1, 0):
            session.say(f"resuming in epoch {state.epoch} after step {state.step}")
        steps = Steps(model, optimizer, train, config, autocast)
        bar = progress.add_task("epochs", total=config.epochs, completed=state.epoch - 1)
        while state.epoch <= config.epochs:
            epoch, state = state.epoch, _epoch(run, steps, state, progress, stop)
            save_state(run, model, optimizer, state)
            calibrate(model, val, autocast)
            run.save_checkpoint(model.trained_state(), settings.save_dir, epoch, keep=settings.keep)
            *before, record = state.history
            if epoch % settings.eval_every == 0 or epoch == config.epochs:
                accuracy = accuracy_by_mode(
                    model, shown, RowLabels(class_ids), seed=config.seed, autocast=autocast, progress=progress
                )
                record = replace(record, accuracy=accuracy)
                run.write_accuracies(settings.save_dir, (*before, record))
            session.say(_line(record))
            state = TrainState(epoch + 1, 0, (*before, record))
            save_state(run, model, optimizer, state)
            progress.advance(bar)
        predicted = predicted_classes(model, test, autocast=autocast)
    seconds = sum(record.seconds for record in state.history)
    metrics = session.measure(test.labels, predicted, model.trained_parameters(), seconds, state.history)
    run.finish(model.trained_state(), metrics)
    session.plot(run, metrics)
    return run, metrics


def new_optimizer(model: PromptBankModel, config: TrainConfig) -> torch.optim.Adam:
    """Return Adam over rows and LoRA."""
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=config.lr or LR)


@dataclass(frozen=True)
class Steps:
    """The steps of a training.

    Attributes:
        model: what is trained.
        optimizer: of its rows and LoRA.
        split: what it is trained on.
        config: the recipe.
        autocast: the precision.
    """

    model: PromptBankModel
    optimizer: torch.optim.Optimizer
    split: Split
    config: TrainConfig
    autocast: AbstractContextManager[Any]

    @property
    def count(self) -> int:
        """Steps of an epoch."""
        return -(-len(self.split) // self.config.batch_size)

    def of_epoch(self, epoch: int, *, done: int = 0, first: int = 1) -> Iterator[float]:
        """Take the steps of an epoch that are left after `done` of them, yielding the loss of each.

        Args:
            epoch: from 1.
            done: how many were taken before an interruption.
            first: the number of the first step; the number is a part of the step's seed.
        """
        model, split, config = self.model, self.split, self.config
        model.train()
        labels, device = RowLabels(model.class_ids), model.prompts.device
        order = np.random.default_rng((config.seed, epoch)).permutation(len(split))
        batches = np.split(order, range(config.batch_size, len(order), config.batch_size))
        for step, index in enumerate(batches[done:], start=first + done):
            seed = step_seed(config.seed, epoch, step)
            torch.manual_seed(seed)  # for LoRA's dropout
            inputs = torch.from_numpy(split.batch(index, model.backbone.preprocess)).to(device)
            target = labels.positions(split.labels[index])
            with self.autocast:
                loss = shared_loss(model, inputs, target, torch.Generator().manual_seed(seed))
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()
            yield loss.item()


def _epoch(run: Run, steps: Steps, state: TrainState, progress: Progress, stop: StopRequest) -> TrainState:
    """Take the steps that are left of one epoch; save the state every five minutes and when asked to stop."""
    epochs = steps.config.epochs
    resumed = state.step > 0  # then the record of this epoch stands last in the history
    *before, record = state.history if resumed else (*state.history, EpochRecord(state.epoch))
    name = f"epoch {state.epoch}/{epochs}"
    bar = progress.add_task(name, total=steps.count, completed=state.step)
    saved, started = time.monotonic(), time.perf_counter()
    for step, loss in enumerate(steps.of_epoch(state.epoch, done=state.step), start=state.step + 1):
        mean = record.loss + (loss - record.loss) / step
        record = EpochRecord(state.epoch, mean, record.seconds + time.perf_counter() - started)
        state = TrainState(state.epoch, step, (*before, record))
        progress.update(bar, completed=step, description=f"{name} loss {mean:.3f}")
        if stop.requested or time.monotonic() - saved > SAVE_SECONDS:
            save_state(run, steps.model, steps.optimizer, state)
            saved = time.monotonic()
        if stop.requested:
            raise TrainingInterruptedError(run.folder)
        started = time.perf_counter()
    progress.remove_task(bar)
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


def _describe(session: TrainingSession) -> str:
    """Return what is about to be trained, on what."""
    dataset, backbone = session.dataset, session.backbone
    plural = "sounds" if dataset.kind == "audio" else "images"
    precision = "bf16" if computes_bf16(session.autocast) else "fp32"
    return (
        f"{len(dataset.train)} training {plural}, {len(session.class_ids)} rows, "
        f"backbone {backbone.name} ({backbone.preprocess.describe()}), {session.device} {precision}"
    )


def _line(record: EpochRecord) -> str:
    parts = [f"epoch {record.epoch:>3}", f"loss {record.loss:.4f}", f"{record.seconds:.0f} s"]
    parts += [f"{mode} {accuracy:.3f}" for mode, accuracy in (record.accuracy or {}).items()]
    return "  ".join(parts)
