"""Ways to make a network forget one class after it was trained, each written from its paper.

    descend(model, retained, settings, epochs=1)                                 # fine-tuning on what is retained
    ascend(model, forgotten, settings)                                           # gradient ascent
    descend(model, relabelled, settings, epochs=1)                               # random labels
    descend(model, relabelled, settings, epochs=1, mask=saliency(model, forgotten, settings))         # SalUn
    dampen(model, fisher(model, forgotten, settings), fisher(model, everything, settings))            # SSD

A model here is any module that turns inputs `[B, ...]` into logits `[B, K]`. Data are splits whose labels are
positions 0 .. K-1 and whose items are inputs. Every function changes the model in place. No dropout is drawn (the
model is in evaluation mode throughout), so what comes out follows from the data and the settings' seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pfedge.data import Split

ASCENT_STEPS = 50  # at most
ASCENT_RATE = 0.3  # of the settings' learning rate
CLIP = 1.0  # of the gradient's norm, when ascending
ALPHA, LAMBDA = 10.0, 1.0  # of Selective Synaptic Dampening, as in its paper
ALPHAS = (320.0, 160.0, 80.0, 40.0, 20.0, ALPHA)  # from the gentlest on
SAMPLES = 512  # at most, for a Fisher diagonal, and to look at how much of the class is recognised

RELABEL = 0  # what a generator is for stands beside the seed; an epoch's order has the epoch's number there
FISHER = 1 << 16
LOOK = FISHER + 1


@dataclass(frozen=True)
class StepSettings:
    """How every training step is taken.

    Attributes:
        seed: of every random choice.
        device: where the model is.
        batch_size: samples a step.
        lr: Adam's learning rate; there is no weight decay, which would move weights that a mask keeps.
        before_step: called before every step; what it raises ends the training.
        on_epoch: told of every epoch that ended: its number, of how many, and its mean loss.
    """

    seed: int
    device: torch.device
    batch_size: int = 32
    lr: float = 1e-4
    before_step: Callable[[], None] = lambda: None
    on_epoch: Callable[[int, int, float], None] = lambda _epoch, _epochs, _loss: None


def descend(
    model: nn.Module, data: Split, settings: StepSettings, *, epochs: int, mask: Sequence[Tensor] | None = None
) -> None:
    """Train with cross-entropy.

    On what is retained alone it is the method *fine-tuning*, which hopes for catastrophic forgetting: a baseline of
    Golatkar, Achille, Soatto, "Eternal Sunshine of the Spotless Net: Selective Forgetting in Deep Networks", CVPR
    2020, arXiv 1911.04933 ("Finetune"), and of Warnecke, Pirch, Wressnegger, Rieck, "Machine Unlearning of Features and
    Labels", NDSS 2023, arXiv 2108.11577; FT in the tables of SalUn. The first raise the learning rate for it; here it
    stays that of the training, as for the other methods that train.

    Args:
        model: see the module's docstring.
        data: what to train on.
        settings: how.
        epochs: passes over the data.
        mask: bool, one per parameter and of its shape: where False, a weight keeps its very bits.
    """
    model.eval()
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr)
    for epoch in range(1, epochs + 1):
        total = 0.0
        for inputs, target in batches(data, settings, epoch):
            settings.before_step()
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs), target)
            torch.autograd.backward(loss)
            if mask is not None:
                _keep(model, mask)
            optimizer.step()
            total += loss.item() * len(target)
        settings.on_epoch(epoch, epochs, total / len(data))
    model.zero_grad()


def ascend(model: nn.Module, forgotten: Split, settings: StepSettings) -> int:
    """Climb the loss of the class's data until the class is no longer recognised; return the steps taken.

    Gradient ascent: Thudi, Deza, Chandrasekaran, Papernot, "Unrolling SGD: Understanding Factors Influencing Machine
    Unlearning", EuroS&P 2022, arXiv 2109.13398, add the gradient on what shall be forgotten back once, at the first
    weights ("single gradient unlearning"); Golatkar et al. (arXiv 1911.04933, their baseline "Negative Gradient") do so
    step by step, which is what this does and what later tables call GA. Those name Graves, Nagisetty, Ganesh,
    "Amnesiac Machine Learning", AAAI 2021, arXiv 2010.10981, too, who subtract the updates that were recorded in
    training; of a training that recorded none, ascent is what is left.

    The loss has no maximum, so choices are needed, and they are ours: Adam, since plain gradients vanish where the
    class is well learnt, at 0.3 of the settings' rate, since at all of it two or three steps overshoot; gradients
    clipped to norm 1; before each step the batch at hand is looked at, and all ends where fewer than 1/K of it, and of
    all the class's data (512 samples at most), are recognised, or after fifty steps.
    """
    model.eval()
    optimizer = torch.optim.Adam(model.parameters(), lr=ASCENT_RATE * settings.lr)
    passes = (batches(forgotten, settings, number) for number in itertools.count(1))
    taken = 0
    for inputs, target in itertools.islice(itertools.chain.from_iterable(passes), ASCENT_STEPS):
        settings.before_step()
        logits = model(inputs)
        if below_chance(logits, target) and unrecognised(model, forgotten, settings):
            break
        optimizer.zero_grad()
        torch.autograd.backward(-F.cross_entropy(logits, target))
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        taken += 1
    model.zero_grad()
    return taken


def relabel(data: Split, position: int, *, classes: int, seed: int) -> Split:
    """Return the data with every sample of one class labelled as another, drawn evenly, once, among the others.

    To train on it is the method *random labels*: Golatkar et al. (arXiv 1911.04933, their baseline "Random Labels");
    Graves et al. (arXiv 2010.10981, their method "Unlearning"); RL in the tables of SalUn. The class's data and the
    retained are shuffled together, so that each weighs as much as it has samples.

    Args:
        data: labels int64 `[N]`, positions.
        position: the class to hide.
        classes: K, at least 2.
        seed: of the draw.
    """
    hidden = data.labels == position
    away = np.random.default_rng((seed, RELABEL)).integers(1, classes, size=int(hidden.sum()))
    labels = data.labels.copy()
    labels[hidden] = (position + away) % classes
    return replace(data, labels=labels)


def saliency(model: nn.Module, forgotten: Split, settings: StepSettings) -> list[Tensor]:
    """Return the salient half of the weights: bool, one per parameter and of its shape.

    Fan, Liu, Zhang, Wong, Wei, Liu, "SalUn: Empowering Machine Unlearning via Gradient-based Weight Saliency in Both
    Image Classification and Generation", ICLR 2024, arXiv 2310.12508: a weight is salient where the magnitude of the
    forgetting loss's gradient, at the trained weights and over all the class's data, reaches its median over all
    weights. (The forgetting loss is cross-entropy with its sign changed; the magnitude is the same.)
    Training on random labels under this mask is SalUn. Their objective weighs the retained data by a factor alpha;
    here it is the data's own share, as for *random labels*, from which SalUn then differs in the mask alone.

    Weights that the logits do not depend on are not counted, and False.
    """
    model.eval()
    model.zero_grad()
    for inputs, target in batches(forgotten, settings, 1):
        settings.before_step()
        loss = F.cross_entropy(model(inputs), target, reduction="sum") / len(forgotten)
        torch.autograd.backward(loss)  # gradients of the batches add up
    gradients = [parameter.grad for parameter in model.parameters()]
    threshold = torch.cat([gradient.abs().flatten() for gradient in gradients if gradient is not None]).median()
    mask = [
        torch.zeros_like(parameter, dtype=torch.bool) if gradient is None else gradient.abs() >= threshold
        for parameter, gradient in zip(model.parameters(), gradients, strict=True)
    ]
    model.zero_grad()
    return mask


def fisher(model: nn.Module, data: Split, settings: StepSettings) -> list[Tensor]:
    """Return the diagonal of the Fisher information, one per parameter and of its shape: the mean squared gradient.

    It is a mean over batches, not samples: of the squared gradient of a batch's mean loss. That is how the authors of
    Selective Synaptic Dampening compute it, and their alpha depends on it: sample by sample the class's mean square can
    be at most N / n times that of all N samples, of which n are the class's, and with ten classes of one size no
    weight could pass alpha = 10. Batches are drawn at random, of one size (what is left over is not used), of at most
    512 samples in all.

    Args:
        model: see the module's docstring.
        data: at least one batch.
        settings: its batch size must be that of the other Fisher diagonal that this one is compared with.
    """
    model.eval()
    totals = [torch.zeros_like(parameter) for parameter in model.parameters()]
    count = max(1, min(len(data), SAMPLES) // settings.batch_size)
    for inputs, target in itertools.islice(batches(data, settings, FISHER), count):
        settings.before_step()
        model.zero_grad()
        torch.autograd.backward(F.cross_entropy(model(inputs), target))
        for total, parameter in zip(totals, model.parameters(), strict=True):
            if parameter.grad is not None:
                total.addcmul_(parameter.grad, parameter.grad, value=1 / count)
    model.zero_grad()
    return totals


@torch.no_grad()
def dampen(
    model: nn.Module,
    of_class: Sequence[Tensor],
    of_all: Sequence[Tensor],
    *,
    alpha: float = ALPHA,
    dampening: float = LAMBDA,
) -> float:
    """Dampen the weights that matter more to the class than to all; return the share of weights dampened.

    Selective Synaptic Dampening: Foster, Schoepf, Brintrup, "Fast Machine Unlearning Without Retraining Through
    Selective Synaptic Dampening", AAAI 2024, arXiv 2308.07707, its two steps: a weight is selected where
    `of_class > alpha * of_all`, and multiplied by `min(dampening * of_all / of_class, 1)`. There is no gradient step.

    Args:
        model: see the module's docstring.
        of_class: the Fisher diagonal on the class's data.
        of_all: the Fisher diagonal on all training data, the class's included.
        alpha: how much more it must matter.
        dampening: the paper's lambda.
    """
    dampened = count = 0
    for parameter, part, whole in zip(model.parameters(), of_class, of_all, strict=True):
        chosen = part > alpha * whole
        parameter[chosen] *= (dampening * whole[chosen] / part[chosen]).clamp(max=1)
        dampened, count = dampened + int(chosen.sum()), count + chosen.numel()
    return dampened / count


@torch.no_grad()
def dampen_enough(
    model: nn.Module, of_class: Sequence[Tensor], of_all: Sequence[Tensor], forgotten: Split, settings: StepSettings
) -> tuple[float, float]:
    """Dampen with the largest alpha at which the class is no longer recognised; return it and the share dampened.

    The paper searches for alpha, and settles on 10 for its networks and data. On other data, 10 can ruin a network:
    with `builtin:micro` on digits it selected up to 31 % of the weights and left 13 % of the other classes' images
    recognised. So alpha is halved from 320 down to the paper's 10, until fewer than 1/K of the class's training data
    (512 samples at most) are recognised: the same stop as that of gradient ascent, and what a user would search for.
    """
    trained = [parameter.clone() for parameter in model.parameters()]
    alpha, share = ALPHA, 0.0
    for alpha in ALPHAS:
        for parameter, value in zip(model.parameters(), trained, strict=True):
            parameter.copy_(value)
        share = dampen(model, of_class, of_all, alpha=alpha)
        if unrecognised(model, forgotten, settings):
            break
    return alpha, share


@torch.no_grad()
def unrecognised(model: nn.Module, forgotten: Split, settings: StepSettings) -> bool:
    """Return whether fewer than 1/K of the class's data are recognised, of which 512 samples at most are looked at."""
    logits, targets = [], []
    for inputs, target in batches(forgotten.sample(SAMPLES, settings.seed), settings, LOOK):
        settings.before_step()
        logits.append(model(inputs))
        targets.append(target)
    return below_chance(torch.cat(logits), torch.cat(targets))


def below_chance(logits: Tensor, target: Tensor) -> bool:
    """Return whether logits `[B, K]` name fewer than 1/K of the targets `[B]`."""
    return bool((logits.argmax(1) == target).sum() * logits.shape[1] < len(target))


def batches(data: Split, settings: StepSettings, number: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs `[B, ...]` and labels int64 `[B]` on the device, in an order of (seed, number) alone."""
    order = np.random.default_rng((settings.seed, number)).permutation(len(data))
    for start in range(0, len(order), settings.batch_size):
        index: NDArray[np.int64] = order[start : start + settings.batch_size]
        inputs = np.stack([data.item(int(i)) for i in index])
        yield torch.from_numpy(inputs).to(settings.device), torch.from_numpy(data.labels[index]).to(settings.device)


def _keep(model: nn.Module, mask: Sequence[Tensor]) -> None:
    """Clear the gradients where the mask is False; Adam, begun without moments, then leaves those weights alone."""
    for parameter, part in zip(model.parameters(), mask, strict=True):
        if parameter.grad is not None:
            parameter.grad.mul_(part)
