"""Checkpoints of the paper's published code (perceivelab/PreForgettableModels), read without running any of theirs.

    run, metrics = import_reference(Path("bloodmnist_seed_42_10.pt"), ImportSettings(), Path("run"), console)

Such a checkpoint is `{"model_state_dict", "optimizer_state_dict"}`. The first holds the prompts
(`prompt_dict.<class>`), the head (`classifier.*`) and the whole backbone with its LoRA, under transformers 4's and
peft's names. The rows and LoRA are taken over; the backbone's own weights are compared with those of the backbone
that is named, bit for bit. The second, which holds Adam's moments of every row, is dropped: they remember rows too.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from pfedge.backbone import DEFAULT_BACKBONES, Backbone, load_backbone, transformers4_name
from pfedge.compute import choose_autocast, choose_device
from pfedge.data import Dataset, load_dataset
from pfedge.errors import BackboneError, DataError, RunError
from pfedge.guarantees.shared import LORA_RANK, PromptBankModel, SharedConfig, calibrate, predicted_classes
from pfedge.runs import Metrics, Run, RunConfig, TrainConfig
from pfedge.training import accuracy_of, calibration_split, confusion_matrix
from pfedge.version import versions
from pfedge_runtime.files import sha256_file

SUFFIX = ".pt"
BACKBONE = "backbone.base_model.model."
HEAD = ("classifier.weight", "classifier.bias")
PROMPT = re.compile(r"prompt_dict\.(\d+)")
LORA = re.compile(r"encoder\.layer\.(\d+)\.attention\.attention\.(query|value)\.lora_([AB])\.default\.weight")
NAME = re.compile(r".+_seed_(\d+)_(\d+)")
TRAINED_ON_VAL = {"octmnist"}  # "training split is too large", says the reference
NAMED_KEYS = 3


@dataclass(frozen=True)
class ReferenceCheckpoint:
    """What is taken from a checkpoint.

    Attributes:
        path: the file.
        prompts: class id -> float32 `[1, D]`.
        head_weight: float32 `[K, D]`.
        head_bias: float32 `[K]`.
        lora: `lora.<block>.<query|value>.<A|B>`, A `[r, D]`, B `[D, r]`.
        backbone: the frozen weights, under transformers 4's names.
    """

    path: Path
    prompts: dict[int, Tensor]
    head_weight: Tensor
    head_bias: Tensor
    lora: dict[str, Tensor]
    backbone: dict[str, Tensor]


@dataclass(frozen=True)
class ImportSettings:
    """How a checkpoint is imported.

    Attributes:
        dataset: what it was trained on.
        model_name: its backbone.
        seed: the seed it was trained with; None takes it from the file's name, else 42.
        data_root: where MedMNIST files lie.
        size: MedMNIST file size; None fits the backbone.
        train_split: what it was trained on; None is `val` for octmnist, as in the reference, else `train`.
        download: fetch a missing MedMNIST file.
        device: a torch device, or `auto`.
        gpu_id: which GPU `auto` takes.
        precision: `auto`, `fp32` or `bf16`.
    """

    dataset: str = "bloodmnist"
    model_name: str = DEFAULT_BACKBONES["image"]
    seed: int | None = None
    data_root: Path | None = None
    size: int | None = None
    train_split: str | None = None
    download: bool = True
    device: str = "auto"
    gpu_id: int = 0
    precision: str = "auto"


def read_checkpoint(path: Path) -> ReferenceCheckpoint:
    """Read a checkpoint's tensors; nothing in it is executed.

    Raises:
        RunError: it is missing, damaged, holds pickled objects, or its tensors are not those of the reference.
    """
    state = _load(path)
    model = state.get("model_state_dict") if isinstance(state, dict) else None
    if not isinstance(model, dict) or not all(isinstance(value, Tensor) for value in model.values()):
        message = f"{path} is no checkpoint of the reference: it has no model_state_dict of tensors"
        raise RunError(message)
    model = {name: value.detach().float().contiguous() for name, value in model.items()}
    damaged = sorted(name for name, value in model.items() if not torch.isfinite(value).all())
    if damaged:
        message = f"{path} has values that are not finite in {_some(damaged)}"
        raise RunError(message)
    head = {name: model.pop(name) for name in HEAD if name in model}
    prompts, lora, backbone, unknown = {}, {}, {}, []
    for name, value in model.items():
        inner = name.removeprefix(BACKBONE)
        if prompt := PROMPT.fullmatch(name):
            prompts[int(prompt[1])] = value
        elif inner != name and (adapted := LORA.fullmatch(inner)):
            lora[f"lora.{adapted[1]}.{adapted[2]}.{adapted[3]}"] = value
        elif inner != name and "lora_" not in inner:
            backbone[inner.replace(".base_layer.", ".")] = value
        else:
            unknown.append(name)
    _require_no_difference(path, missing=[name for name in HEAD if name not in head], unknown=unknown)
    checkpoint = ReferenceCheckpoint(
        path=path,
        prompts=prompts,
        head_weight=head["classifier.weight"],
        head_bias=head["classifier.bias"],
        lora=lora,
        backbone=backbone,
    )
    _require_shapes(checkpoint)
    return checkpoint


def _require_shapes(checkpoint: ReferenceCheckpoint) -> None:
    """Check that there is one prompt and one output per class, all of one width, and that LoRA has rank 4."""
    prompts, weight = checkpoint.prompts, checkpoint.head_weight
    classes, width = (int(weight.shape[0]), int(weight.shape[-1])) if weight.ndim else (0, 0)
    _require_no_difference(
        checkpoint.path,
        missing=[f"prompt_dict.{class_id}" for class_id in range(classes) if class_id not in prompts],
        unknown=[f"prompt_dict.{class_id}" for class_id in sorted(prompts) if class_id >= classes],
    )
    expected: list[tuple[str, Tensor, tuple[int, ...]]] = [
        ("classifier.weight", weight, (classes, width)),
        ("classifier.bias", checkpoint.head_bias, (classes,)),
        *((f"prompt_dict.{class_id}", value, (1, width)) for class_id, value in prompts.items()),
    ]
    for name, value in checkpoint.lora.items():
        expected.append((name, value, (LORA_RANK, width) if name.endswith("A") else (width, LORA_RANK)))
    for name, value, shape in expected:
        if tuple(value.shape) != shape:
            message = f"{checkpoint.path}: {name} has shape {list(value.shape)}, expected {list(shape)}"
            raise RunError(message)


def open_checkpoint(path: Path, settings: ImportSettings) -> tuple[Run, PromptBankModel, Dataset]:
    """Read a checkpoint and build its model; nothing is written.

    The returned run is what `import_reference` would write; its rows accept everything, as the reference's do.

    Raises:
        PfedgeError: the checkpoint, its backbone or the data set cannot be used, or they do not fit each other.
    """
    checkpoint = read_checkpoint(path)
    backbone = load_backbone(settings.model_name)
    _require_backbone(checkpoint, backbone)
    named = NAME.fullmatch(path.stem)
    config = SharedConfig(
        dataset=settings.dataset,
        model_name=settings.model_name,
        epochs=int(named[2]) if named else TrainConfig.epochs,
        seed=settings.seed if settings.seed is not None else int(named[1]) if named else TrainConfig.seed,
        size=settings.size,
        train_split=settings.train_split or ("val" if settings.dataset in TRAINED_ON_VAL else "train"),
    )
    dataset = load_dataset(
        settings.dataset,
        image_size=backbone.image_size,
        data_root=settings.data_root,
        size=settings.size,
        train_split=config.train_split,
        download=settings.download,
    )
    if len(dataset.classes) != len(checkpoint.prompts):
        message = f"{path} has {len(checkpoint.prompts)} classes, {dataset.name} has {len(dataset.classes)}"
        raise DataError(message)
    model = PromptBankModel(backbone, class_ids=range(len(checkpoint.prompts)))
    state = dict(checkpoint.lora)
    for class_id, prompt in checkpoint.prompts.items():
        state |= {
            f"rows.{class_id}.prompts": prompt,
            f"rows.{class_id}.head_weight": checkpoint.head_weight[class_id],
            f"rows.{class_id}.head_bias": checkpoint.head_bias[class_id],
            f"rows.{class_id}.threshold": torch.tensor(-torch.inf),
        }
    try:
        model.load_trained_state(state)
    except KeyError as error:
        _require_no_difference(path, missing=[str(error.args[0])])
    described = RunConfig(
        train=config.remembered(),
        dataset_name=dataset.name,
        classes=dataset.classes,
        class_ids=model.class_ids,
        backbone_digest=backbone.digest,
        made_by=versions("pfedge", "torch", "transformers", "peft"),
        imported={"file": path.name, "sha256": sha256_file(path)},
    )
    return Run(path.parent, described, path), model.eval(), dataset


def import_reference(
    path: Path, settings: ImportSettings, out: Path, console: Console, *, overwrite: bool = False
) -> tuple[Run, Metrics]:
    """Turn a checkpoint into a run folder of guarantee `shared`; return it and its metrics.

    Thresholds are calibrated on the validation split and accuracy is measured on the test split, as `train` does.

    Raises:
        PfedgeError: as `open_checkpoint`, or the folder holds a run already.
    """
    device = choose_device(settings.device, settings.gpu_id)
    autocast = choose_autocast(settings.precision, device)
    opened, model, dataset = open_checkpoint(path, settings)
    model.to(device)
    run = Run.create(out, opened.config, resume=False, overwrite=overwrite)
    console.print(f"{path}: {len(model.class_ids)} rows and LoRA taken over", highlight=False, soft_wrap=True)
    console.print("the optimizer's state is dropped: Adam's moments remember rows", highlight=False, soft_wrap=True)
    with console.status("calibrating on validation data, measuring on test data"):
        calibrate(model, calibration_split(dataset.val, model.class_ids, run.config.train.seed), autocast)
        test = dataset.test.only(model.class_ids)
        predicted = predicted_classes(model, test, autocast=autocast)
        matrix = confusion_matrix(test.labels, predicted, classes=len(dataset.classes))
    metrics = Metrics(
        history=(),
        test_accuracy=accuracy_of(matrix),
        confusion=matrix.tolist(),
        trained_parameters=model.trained_parameters(),
    )
    run.finish(model.trained_state(), metrics)
    return run, metrics


def _load(path: Path) -> Any:  # noqa: ANN401 -- whatever the file holds
    if not path.is_file():
        message = f"no checkpoint at {path}"
        raise RunError(message)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        message = f"{path} is damaged or holds pickled objects beside tensors: refused, nothing in it was executed"
        raise RunError(message) from error
    except Exception as error:  # torch.load raises errors of any class on damaged files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        message = f"cannot read {path}: {reason}"
        raise RunError(message) from error


def _require_backbone(checkpoint: ReferenceCheckpoint, backbone: Backbone) -> None:
    """Check that the checkpoint's frozen weights are the backbone's, bit for bit."""
    width = checkpoint.head_weight.shape[1]
    if width != backbone.width:
        message = f"{checkpoint.path} is {width} wide, the backbone {backbone.name} is {backbone.width} wide"
        raise BackboneError(message)
    own = {transformers4_name(name): value for name, value in backbone.vit.state_dict().items()}
    found = {name: value for name, value in checkpoint.backbone.items() if not name.startswith("pooler.")}
    _require_no_difference(
        checkpoint.path,
        missing=sorted(BACKBONE + name for name in set(own) - set(found)),
        unknown=sorted(BACKBONE + name for name in set(found) - set(own)),
    )
    differing = sorted(name for name, value in own.items() if not torch.equal(value, found[name]))
    if differing:
        message = f"the backbone in {checkpoint.path} is not {backbone.name}: they differ in {_some(differing)}"
        raise BackboneError(message)


def _require_no_difference(path: Path, *, missing: Collection[str] = (), unknown: Collection[str] = ()) -> None:
    """Fail, naming tensors, unless the checkpoint has exactly those of the reference."""
    if missing or unknown:
        parts = [f"it lacks {_some(missing)}"] if missing else []
        parts += [f"it has unknown tensors {_some(unknown)}"] if unknown else []
        message = f"{path} is no checkpoint of the reference for this backbone: {' and '.join(parts)}"
        raise RunError(message)


def _some(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:NAMED_KEYS])
    return shown if len(names) <= NAMED_KEYS else f"{shown} and {len(names) - NAMED_KEYS} more"
