"""The run folder: what `pfedge train` leaves and every later verb reads.

    run = Run.open(Path("checkpoints/bloodmnist_seed_42"))        # or one epoch's .safetensors
    model = run.load_model()

`model.safetensors` holds the rows and LoRA, with the run's configuration in its metadata; `config.json` is
the same configuration for people; `metrics.json` and the plots say how it went. The optimizer's state lies
apart, in `resume.safetensors`, and goes when training ends: Adam's moments remember rows too.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pfedge.backbone.backbone import load_backbone
from pfedge.backbone.embedding import load_embedding
from pfedge.data import Dataset, load_dataset
from pfedge.errors import BackboneError, RunError
from pfedge.guarantees.exact.model import ExactModel
from pfedge.guarantees.isolated.model import IsolatedModel
from pfedge.guarantees.shared.model import PromptBankModel
from pfedge_runtime.bank import StatisticsBank
from pfedge_runtime.files import write_atomic

Trainable = PromptBankModel | IsolatedModel
Model = Trainable | ExactModel

FORMAT = "pfedge-run/1"
METADATA = "pfedge"
MODEL = "model.safetensors"
CONFIG = "config.json"
METRICS = "metrics.json"
RESUME = "resume.safetensors"
AUDIT = "audit"


@dataclass(frozen=True)
class TrainState:
    """Where training stands: the epoch under way (from 1), steps done in it, and the epochs' records so far."""

    epoch: int
    step: int
    history: list[dict[str, Any]]


@dataclass(frozen=True)
class Run:
    """A run folder or one of its checkpoints.

    Attributes:
        folder: where metrics, plots and evaluations go.
        config: what it was trained on and how; see `pfedge.guarantees.shared.train`.
        model_file: the rows and LoRA.
    """

    folder: Path
    config: dict[str, Any]
    model_file: Path

    @property
    def name(self) -> str:
        """The prefix of the reference's file names: `<dataset>_seed_<seed>`."""
        return f"{self.config['dataset_name']}_seed_{self.config['train']['seed']}"

    @classmethod
    def create(cls, folder: Path, config: dict[str, Any], *, resume: bool, overwrite: bool) -> Run:
        """Begin a run, or go on with an interrupted one of the same configuration.

        Raises:
            RunError: the folder holds a run already, or `resume` finds none or one that differs.
        """
        run = cls(folder, config, folder / MODEL)
        state = folder / RESUME
        if resume and not state.is_file():
            why = "is finished" if run.model_file.is_file() else "has no interrupted run"
            message = f"nothing to resume: {folder} {why}"
            raise RunError(message)
        if resume:
            before = _read(state)[0]
            changed = sorted(key for key in config["train"] if before["train"].get(key) != config["train"][key])
            if changed or before["backbone_digest"] != config["backbone_digest"]:
                message = f"cannot resume {folder}: it was begun with another {', '.join(changed) or 'backbone'}"
                raise RunError(message)
        elif not overwrite and (run.model_file.exists() or state.exists()):
            hint = "--resume continues it, " if state.exists() else ""
            message = f"{folder} already holds a run: {hint}--overwrite replaces it, --out names another folder"
            raise RunError(message)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            for old in (run.model_file, state, folder / METRICS, *folder.glob(f"{run.name}_*"), *folder.glob("*.png")):
                old.unlink(missing_ok=True)
            shutil.rmtree(folder / AUDIT, ignore_errors=True)  # bundles of the old rows, references, shadows
        write_atomic(folder / CONFIG, _pretty(config))
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open a finished run folder, or a `.safetensors` checkpoint of one.

        Raises:
            RunError: it is missing, unfinished, damaged or of another format.
        """
        if path.is_dir():
            if not (path / MODEL).is_file():
                why = "its training is not finished (train --resume)" if (path / RESUME).is_file() else f"no {MODEL}"
                message = f"{path} is not a finished run: {why}"
                raise RunError(message)
            return cls(path, _read(path / MODEL)[0], path / MODEL)
        if not path.is_file():
            message = f"no run at {path}: give a run folder or a checkpoint"
            raise RunError(message)
        if path.suffix == ".pt":
            message = f"{path} is a torch file: pfedge import-reference turns a checkpoint of the reference into a run"
            raise RunError(message)
        return cls(path.parent, _read(path)[0], path)

    def load_model(self, model_name: str | None = None) -> Model:
        """Load the backbone, check that it is the one trained on, and put the rows and LoRA in.

        Args:
            model_name: where the backbone is now, if not where it was in training.

        Raises:
            BackboneError: it cannot be loaded, or its weights are not those of training.
            RunError: the model file is damaged.
        """
        train = self.config["train"]
        name = model_name or train["model_name"]
        try:
            backbone = load_backbone(name, image_size=train["image_size"])
        except BackboneError as error:
            message = f"{error} (a run needs the backbone it was trained on: say where it is with --model-name)"
            raise BackboneError(message) from error
        if backbone.digest != self.config["backbone_digest"]:
            message = f"the weights of {name} are not those that {self.folder} was trained on"
            raise BackboneError(message)
        if train["guarantee"] == "exact":
            return ExactModel(load_embedding(backbone, self.config["embedding"]), self._rows(self.model_file)[0])
        rows: dict[str, Any] = {"class_ids": self.config["class_ids"], "tokens_per_class": train["tokens_per_class"]}
        model: Trainable
        if train["guarantee"] == "isolated":
            spec = load_embedding(backbone, self.config["embedding"]).spec
            model = IsolatedModel(backbone, spec=spec, **rows)
        else:
            model = PromptBankModel(backbone, **rows)
        try:
            model.load_trained_state(_read(self.model_file)[1])
        except (KeyError, RuntimeError) as error:
            message = f"{self.model_file} does not fit its own configuration: {error}"
            raise RunError(message) from error
        return model.eval()

    def load_dataset(
        self,
        image_size: int | None,
        *,
        dataset: str | None = None,
        data_root: Path | None = None,
        download: bool = True,
    ) -> Dataset:
        """Load the data set trained on, or another one, in the size and folds of training.

        Raises:
            DataError: it cannot be used.
        """
        train = self.config["train"]
        return load_dataset(
            dataset or train["dataset"],
            image_size=image_size,
            data_root=data_root,
            size=train["size"],
            test_fold=train.get("test_fold"),
            download=download,
        )

    def save_state(self, model: Trainable, optimizer: torch.optim.Optimizer, state: TrainState) -> None:
        """Save all that `--resume` needs."""
        tensors = {f"model.{name}": tensor for name, tensor in model.trained_state().items()}
        for index, entry in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": value.cpu() for key, value in entry.items()}
        self._write(self.folder / RESUME, tensors, state=vars(state))

    def load_state(self, model: Trainable, optimizer: torch.optim.Optimizer) -> TrainState:
        """Put a saved state back into the model and the optimizer.

        Raises:
            RunError: the file is damaged.
        """
        path = self.folder / RESUME
        _, tensors, extra = _read(path, extra="state")
        try:
            model.load_trained_state(
                {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
            )
            entries: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                kind, _, rest = name.partition(".")
                if kind == "optimizer":
                    index, _, key = rest.partition(".")
                    entries.setdefault(int(index), {})[key] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": entries, "param_groups": groups})
            return TrainState(**extra)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            message = f"{path} is damaged: {error}"
            raise RunError(message) from error

    def save_checkpoint(self, model: Trainable, folder: Path, epoch: int, *, keep: int) -> Path:
        """Write `<dataset>_seed_<seed>_<epoch>.safetensors`; with `keep` > 0 remove all but the last ones."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}_{epoch}.safetensors"
        self._write(path, model.trained_state())
        if keep and epoch > keep:
            (folder / f"{self.name}_{epoch - keep}.safetensors").unlink(missing_ok=True)
        return path

    def write_accuracies(self, folder: Path, history: list[dict[str, Any]]) -> None:
        """Write the reference's `<dataset>_seed_<seed>_accuracies.json`: mode -> accuracy per epoch looked at."""
        looks = [record["accuracy"] for record in history if "accuracy" in record]
        table = {mode: [look[mode] for look in looks] for mode in looks[0]} if looks else {}
        write_atomic(folder / f"{self.name}_accuracies.json", _pretty(table))

    def finish(self, model: Trainable, metrics: dict[str, Any]) -> None:
        """Write the model and the metrics, and remove the optimizer's state."""
        self._write(self.model_file, model.trained_state())
        write_atomic(self.folder / METRICS, _pretty(metrics))
        (self.folder / RESUME).unlink(missing_ok=True)

    def save_rows(self, bank: StatisticsBank, next_input: int) -> None:
        """Save sums under way: what is summed so far, and the index of the input to go on with."""
        self._write(self.folder / RESUME, _tensors(bank), bank=bank.about(), next=next_input)

    def load_rows(self) -> tuple[StatisticsBank, int]:
        """Return what `save_rows` saved.

        Raises:
            RunError: the file is damaged.
        """
        bank, extra = self._rows(self.folder / RESUME)
        return bank, int(extra["next"])

    def finish_rows(self, bank: StatisticsBank, metrics: dict[str, Any]) -> None:
        """Write a bank of statistics as the model, the metrics, and remove the sums under way."""
        self._write(self.model_file, _tensors(bank), bank=bank.about())
        write_atomic(self.folder / METRICS, _pretty(metrics))
        write_atomic(self.folder / CONFIG, _pretty(self.config))
        (self.folder / RESUME).unlink(missing_ok=True)

    def _rows(self, path: Path) -> tuple[StatisticsBank, dict[str, Any]]:
        """Read the statistics in a file, and all of its metadata."""
        about, tensors = _read_file(path)
        try:
            arrays = {name: value.numpy().copy() for name, value in tensors.items()}
            return StatisticsBank.from_tensors(arrays, about["bank"], source=str(path)), about
        except (KeyError, TypeError) as error:
            message = f"{path} is damaged: {error!r}"
            raise RunError(message) from error

    def _write(self, path: Path, tensors: dict[str, Tensor], **extra: Any) -> None:  # noqa: ANN401 -- JSON
        about = json.dumps({"format": FORMAT, "config": self.config, **extra})
        # one metadata entry only: safetensors writes several in random order, and equal runs shall give equal files
        data = save({name: value.contiguous() for name, value in tensors.items()}, metadata={METADATA: about})
        write_atomic(path, data)


def _read(path: Path, *, extra: str | None = None) -> tuple[Any, ...]:
    """Return configuration and tensors of a file written by `Run`, and one more metadata value if asked for."""
    about, tensors = _read_file(path)
    try:
        return (about["config"], tensors) if extra is None else (about["config"], tensors, about[extra])
    except KeyError as error:
        message = f"{path} is damaged or not a pfedge run: {error}"
        raise RunError(message) from error


def _read_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return metadata and tensors of a file written by `Run`."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- not a mapping
    except (OSError, SafetensorError, ValueError) as error:
        message = f"{path} is damaged or not a pfedge run: {error}"
        raise RunError(message) from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else about
        message = f"{path} is not a pfedge run of format {FORMAT}: its format is {found}"
        raise RunError(message)
    return about, tensors


def _tensors(bank: StatisticsBank) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in bank.tensors().items()}


def _pretty(value: Any) -> bytes:  # noqa: ANN401 -- JSON
    return (json.dumps(value, indent=2) + "\n").encode()
