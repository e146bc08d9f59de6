"""What else makes a model forget: an ordinary fine-tuned network, and published ways to take a class from it.

    for outcome in baselines(data, epochs=3, on_progress=print):                  # the one that forgot nothing first
        outcome.method.name, outcome.seconds, outcome.model.logits(inputs)        # float32 [B, K]

The ordinary network is the same backbone with all its weights trained and a linear head on the last block's CLS.
The methods themselves are in `pfedge.auditing.baselines.unlearning`.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pfedge.auditing.baselines.unlearning import StepSettings, ascend, dampen_enough, descend, fisher, relabel, saliency
from pfedge.backbone import Backbone, load_backbone
from pfedge.data import Split
from pfedge_runtime.errors import UnknownClassError, UsageError

EPOCHS = 3
HEAD_STD = 0.02  # as transformers draws the heads of its own classifiers


@dataclass(frozen=True)
class Method:
    """A way to forget.

    Attributes:
        name: short, for a table.
        source: where it was published.
        needs_class_data: whether forgetting takes the data of the class that is forgotten.
        needs_other_data: whether forgetting takes the data of the classes that stay.
    """

    name: str
    source: str
    needs_class_data: bool
    needs_other_data: bool


NOTHING = Method("nothing forgotten", "the ordinary network itself", needs_class_data=False, needs_other_data=False)
RETRAINING = Method("retraining", "the same training without the class", needs_class_data=False, needs_other_data=True)
FINE_TUNING = Method(
    "fine-tuning",
    "Golatkar et al., CVPR 2020, arXiv 1911.04933; Warnecke et al., NDSS 2023, arXiv 2108.11577",
    needs_class_data=False,
    needs_other_data=True,
)
GRADIENT_ASCENT = Method(
    "gradient ascent",
    "Thudi et al., EuroS&P 2022, arXiv 2109.13398; Golatkar et al., CVPR 2020, arXiv 1911.04933",
    needs_class_data=True,
    needs_other_data=False,
)
RANDOM_LABELS = Method(
    "random labels",
    "Golatkar et al., CVPR 2020, arXiv 1911.04933; Graves et al., AAAI 2021, arXiv 2010.10981",
    needs_class_data=True,
    needs_other_data=True,
)
SALUN = Method("SalUn", "Fan et al., ICLR 2024, arXiv 2310.12508", needs_class_data=True, needs_other_data=True)
SSD = Method("SSD", "Foster et al., AAAI 2024, arXiv 2308.07707", needs_class_data=True, needs_other_data=True)
METHODS = (NOTHING, RETRAINING, FINE_TUNING, GRADIENT_ASCENT, RANDOM_LABELS, SALUN, SSD)


@dataclass(frozen=True)
class BaselineData:
    """What the ordinary network learns, and what it shall forget.

    Attributes:
        train: training data, prepared where it fits in memory; of other classes than `class_ids` nothing is read.
        class_ids: the K classes; an output's position is its class's position here.
        forgotten: the class id to forget, one of them.
        model_name: the backbone: hub name, local folder or `builtin:micro`.
        image_size: side in pixels; None is the backbone's own.
        seed: of every random choice.
        preprocessor: in place of the backbone's own, as in the run's recipe.
    """

    train: Split
    class_ids: tuple[int, ...]
    forgotten: int
    model_name: str
    image_size: int | None = None
    seed: int = 42
    preprocessor: dict[str, Any] | None = field(default=None, hash=False)


class OrdinaryModel(nn.Module):
    """A backbone whose weights are all trained, and a linear head over K classes.

    Attributes:
        backbone: its weights take gradients.
        class_ids: the K classes, by output.
        head: from the last block's CLS, without a final LayerNorm, as elsewhere in pfedge.
    """

    def __init__(self, backbone: Backbone, class_ids: Sequence[int], *, seed: int) -> None:
        """Unfreeze the backbone and draw the head from the seed alone."""
        super().__init__()
        self.backbone = backbone
        self.backbone.vit.requires_grad_(requires_grad=True)
        self.class_ids = tuple(class_ids)
        outputs = len(self.class_ids)
        self.head: nn.Linear = nn.utils.skip_init(nn.Linear, backbone.width, outputs)  # type: ignore[no-untyped-call]
        nn.init.normal_(self.head.weight, std=HEAD_STD, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.head.bias)

    def features(self, inputs: Tensor) -> Tensor:
        """Return the last block's CLS, float32 `[B, D]`, of inputs `[B, ...]` as the backbone takes them."""
        return self.backbone.encode(self.backbone.embed(inputs))[:, 0]

    def logits(self, inputs: Tensor) -> Tensor:
        """Return logits float32 `[B, K]`, in the order of `class_ids`."""
        scores: Tensor = self.head(self.features(inputs))
        return scores

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits."""
        return self.logits(inputs)


@dataclass(frozen=True)
class Unlearned:
    """What a method left.

    Attributes:
        method: which.
        model: in evaluation mode, on the device; its own copy, to keep or to change.
        seconds: what the method cost; of nothing forgotten and of retraining, the whole training.
    """

    method: Method
    model: OrdinaryModel
    seconds: float


def baselines(
    data: BaselineData,
    *,
    epochs: int = EPOCHS,
    device: torch.device | None = None,
    methods: Collection[Method] = METHODS,
    on_progress: Callable[[str], None] = lambda _line: None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Unlearned]:
    """Train the ordinary network, then let each method take the class from a copy of it; yield them as they come.

    Adam at 1e-4, 32 samples a step, float32. Between two yields no more than the trained network, one copy and the
    state of its optimizer is held. Beyond the two trainings no method takes more than one pass over the training
    data, or fifty steps on the class's.

    Args:
        data: what to learn and to forget.
        epochs: passes over the data of the training and of the retraining.
        device: where to compute; None is the CPU.
        methods: which of `METHODS`; they come in that order. The ordinary network is trained in any case but that of
            retraining alone.
        on_progress: told in words what begins, and of every epoch that ended.
        stop: asked before every step; once it says so, the iterator ends without what it is about.

    Raises:
        UnknownClassError: the class to forget is not among the classes.
        UsageError: it, or all the others, have nothing to train on.
    """
    if data.forgotten not in data.class_ids:
        known = ", ".join(map(str, data.class_ids))
        message = f"cannot forget class {data.forgotten}: the classes are {known}"
        raise UnknownClassError(message)
    known_labels = data.train.labels[np.isin(data.train.labels, data.class_ids)]
    theirs = int((known_labels == data.forgotten).sum())
    if theirs == 0 or theirs == len(known_labels):
        lacking = f"class {data.forgotten} has" if theirs == 0 else f"the classes other than {data.forgotten} have"
        message = f"cannot compare ways to forget: {lacking} nothing to train on"
        raise UsageError(message)
    job = _Job(data, epochs, device or torch.device("cpu"), on_progress, stop)
    return _each(job, [method for method in METHODS if method in methods])


class _StoppedError(Exception):
    """The caller asked to stop."""


@dataclass(frozen=True)
class _Job:
    """What all methods of one comparison share."""

    data: BaselineData
    epochs: int
    device: torch.device
    on_progress: Callable[[str], None]
    stop: Callable[[], bool]

    def step_settings(self, method: Method) -> StepSettings:
        """Return the settings of a step, which tell of its progress under the method's name."""

        def before_step() -> None:
            if self.stop():
                raise _StoppedError

        def on_epoch(epoch: int, epochs: int, loss: float) -> None:
            self.on_progress(f"{method.name}: epoch {epoch}/{epochs}, loss {loss:.3f}")

        return StepSettings(self.data.seed, self.device, before_step=before_step, on_epoch=on_epoch)

    def seconds_since(self, started: float) -> float:
        """Return the seconds since an instant, what a GPU has still queued included."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - started

    def learn(self, method: Method, *, without: Collection[int] = ()) -> OrdinaryModel:
        """Train from the pretrained backbone, on all classes or without some."""
        data = self.data
        model = OrdinaryModel(
            load_backbone(data.model_name, image_size=data.image_size, preprocessor=data.preprocessor),
            data.class_ids,
            seed=data.seed,
        )
        model = model.to(self.device)
        descend(model, self.samples(model, without=without), self.step_settings(method), epochs=self.epochs)
        return model

    def samples(self, model: OrdinaryModel, *, without: Collection[int] = ()) -> Split:
        """Return the training data of the classes, labelled by output, each item what the backbone takes."""
        kept = [class_id for class_id in self.data.class_ids if class_id not in without]
        split, preprocess = self.data.train.only(kept), model.backbone.preprocess
        position = {class_id: position for position, class_id in enumerate(self.data.class_ids)}
        labels = np.array([position[int(label)] for label in split.labels], dtype=np.int64)
        return Split(labels, lambda index: preprocess(split.item(index)))


def _each(job: _Job, methods: Sequence[Method]) -> Iterator[Unlearned]:
    """Yield what each method leaves, until asked to stop."""
    try:
        original, seconds = None, 0.0
        if any(method is not RETRAINING for method in methods):
            job.on_progress("training the ordinary network")
            started = time.perf_counter()
            original = job.learn(NOTHING)
            seconds = job.seconds_since(started)
        for method in methods:
            if method is NOTHING and original is not None:
                yield Unlearned(NOTHING, copy.deepcopy(original), seconds)
            else:
                job.on_progress(f"{method.name} ...")
                yield _outcome(job, method, original)
    except _StoppedError:
        return


def _outcome(job: _Job, method: Method, original: OrdinaryModel | None) -> Unlearned:
    """Carry out one method; nothing of it is referred to afterwards but by the caller."""
    started = time.perf_counter()
    if method is RETRAINING or original is None:
        model = job.learn(method, without=[job.data.forgotten])
    else:
        model = copy.deepcopy(original)
        _forget(job, method, model)
    return Unlearned(method, model, job.seconds_since(started))


def _forget(job: _Job, method: Method, model: OrdinaryModel) -> None:
    """Take the class from a trained model, in place."""
    settings, classes = job.step_settings(method), job.data.class_ids
    position = classes.index(job.data.forgotten)
    if method is FINE_TUNING:
        descend(model, job.samples(model, without=[job.data.forgotten]), settings, epochs=1)
        return
    every = job.samples(model)
    of_class = every.only([position])
    if method is GRADIENT_ASCENT:
        steps = ascend(model, of_class, settings)
        job.on_progress(f"{method.name}: {steps} steps")
    elif method is SSD:
        # two Fisher diagonals compare only where their batches are of one size
        settings = replace(settings, batch_size=min(settings.batch_size, len(of_class)))
        importances = fisher(model, of_class, settings), fisher(model, every, settings)
        alpha, share = dampen_enough(model, *importances, of_class, settings)
        job.on_progress(f"{method.name}: {share:.2%} of the weights dampened, alpha {alpha:g}")
    else:
        mask = saliency(model, of_class, settings) if method is SALUN else None
        relabelled = relabel(every, position, classes=len(classes), seed=settings.seed)
        descend(model, relabelled, settings, epochs=1, mask=mask)
