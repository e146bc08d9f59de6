"""The run folder: what `pfedge train` leaves and every later verb reads.

    run = Run.open(Path("checkpoints/bloodmnist_seed_42"))        # or one epoch's .safetensors
    model = pfedge.guarantees.load_model(run)

`model.safetensors` holds the rows and LoRA, with the run's configuration in its metadata; `config.json` is
the same configuration for people; `metrics.json` and the plots say how it went. What `--resume` goes on from lies
apart, in `resume.safetensors`, and goes when training ends: Adam's moments remember rows too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pfedge.data import Dataset, difference, load_dataset, require_same
from pfedge.errors import RunError
from pfedge.runs.config import RunConfig
from pfedge.runs.metrics import EpochRecord, Metrics
from pfedge_runtime.files import write_atomic

FORMAT = "pfedge-run/1"
METADATA = "pfedge"
MODEL = "model.safetensors"
CONFIG = "config.json"
METRICS = "metrics.json"
RESUME = "resume.safetensors"
AUDIT = "audit"
UNREADABLE = "unreadable.txt"
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Run:
    """A run folder or one of its checkpoints.

    `create` begins one and refuses to replace another. While it trains, `save_progress` writes what `--resume` needs
    and `save_checkpoint` what each epoch learned. `finish` writes the model and removes the former. From then on `open`
    finds it, and nothing changes it but `pfedge forget --sweep`.

    Attributes:
        folder: where metrics, plots and evaluations go.
        config: what it was trained on and how.
        model_file: the rows and LoRA.
    """

    folder: Path
    config: RunConfig
    model_file: Path

    @property
    def name(self) -> str:
        """The prefix of the reference's file names: `<dataset>_seed_<seed>`."""
        return f"{self.config.dataset_name}_seed_{self.config.train.seed}"

    @property
    def metrics(self) -> Metrics:
        """How training went.

        Raises:
            RunError: the file that says so is missing or damaged.
        """
        path = self.folder / METRICS
        try:
            return Metrics.from_json(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            message = f"{path} is missing or damaged: {error}"
            raise RunError(message) from error

    @classmethod
    def create(cls, folder: Path, config: RunConfig, *, resume: bool, overwrite: bool) -> Run:
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
            before = _read(state).config
            ours, theirs = config.train.to_json(), before.train.to_json()
            changed = sorted(name for name, value in ours.items() if theirs[name] != value)
            if changed or before.backbone_digest != config.backbone_digest:
                message = f"cannot resume {folder}: it was begun with another {', '.join(changed) or 'backbone'}"
                raise RunError(message)
            if differs := difference(before.classes, config.classes):
                message = f"cannot resume {folder}: its class ids are not those of the data now: {differs}"
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
        write_atomic(folder / CONFIG, _pretty(config.to_json()))
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
            return cls(path, _read(path / MODEL).config, path / MODEL)
        if not path.is_file():
            message = f"no run at {path}: give a run folder or a checkpoint"
            raise RunError(message)
        if path.suffix == ".pt":
            message = f"{path} is a torch file: pfedge import-reference turns a checkpoint of the reference into a run"
            raise RunError(message)
        return cls(path.parent, _read(path).config, path)

    def load_dataset(
        self,
        image_size: int | None,
        *,
        dataset: str | None = None,
        data_root: Path | None = None,
        classes: tuple[str, ...] = (),
        download: bool = True,
    ) -> Dataset:
        """Load the data set trained on, or another one, in the size, folds and class ids of training.

        Files that training left out as unreadable are left out again.

        Raises:
            DataError: it cannot be used, or its class ids mean something else.
        """
        train = self.config.train
        loaded = load_dataset(
            dataset or train.dataset,
            image_size=image_size,
            data_root=data_root,
            size=train.size,
            test_fold=train.test_fold,
            classes=classes or train.classes,
            download=download,
        )
        require_same(self.config.classes, loaded.classes, name=loaded.name)
        return loaded.without(self.unreadable())

    def unreadable(self) -> frozenset[str]:
        """Return the files that it was trained without because they cannot be read, as the data set names them."""
        path = self.folder / UNREADABLE
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
            return frozenset(json.loads(line)["file"] for line in lines)
        except (OSError, ValueError, TypeError, KeyError) as error:
            message = f"{path} is damaged: {error}"
            raise RunError(message) from error

    def write_unreadable(self, reasons: Mapping[str, str]) -> None:
        """Write `unreadable.txt`, a line of JSON for each file: what it is called and what is wrong with it."""
        lines = [json.dumps({"file": file, "reason": reason}) for file, reason in sorted(reasons.items())]
        path = self.folder / UNREADABLE
        if lines:
            write_atomic(path, ("\n".join(lines) + "\n").encode())
        else:
            path.unlink(missing_ok=True)

    def read_model(self) -> RunFile:
        """Read what was trained.

        Raises:
            RunError: the file is damaged.
        """
        return _read(self.model_file)

    def save_progress(self, tensors: Tensors, **about: Any) -> None:  # noqa: ANN401 -- JSON
        """Write what `--resume` needs."""
        self.write(self.folder / RESUME, tensors, **about)

    def read_progress(self) -> RunFile:
        """Read what `save_progress` wrote.

        Raises:
            RunError: the file is damaged.
        """
        return _read(self.folder / RESUME)

    def save_checkpoint(self, tensors: Tensors, folder: Path, epoch: int, *, keep: int) -> Path:
        """Write `<dataset>_seed_<seed>_<epoch>.safetensors`; with `keep` > 0 remove all but the last ones."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}_{epoch}.safetensors"
        self.write(path, tensors)
        if keep and epoch > keep:
            (folder / f"{self.name}_{epoch - keep}.safetensors").unlink(missing_ok=True)
        return path

    def write_accuracies(self, folder: Path, history: tuple[EpochRecord, ...]) -> None:
        """Write the reference's `<dataset>_seed_<seed>_accuracies.json`: mode -> accuracy of each epoch measured."""
        measured = [record.accuracy for record in history if record.accuracy is not None]
        table = {mode: [accuracy[mode] for accuracy in measured] for mode in measured[0]} if measured else {}
        write_atomic(folder / f"{self.name}_accuracies.json", _pretty(table))

    def finish(self, tensors: Tensors, metrics: Metrics, **about: Any) -> None:  # noqa: ANN401 -- JSON
        """Write the model, the configuration and the metrics, and remove what `--resume` would need."""
        self.write(self.model_file, tensors, **about)
        write_atomic(self.folder / METRICS, _pretty(metrics.to_json()))
        write_atomic(self.folder / CONFIG, _pretty(self.config.to_json()))
        (self.folder / RESUME).unlink(missing_ok=True)

    def write(self, path: Path, tensors: Tensors, **about: Any) -> None:  # noqa: ANN401 -- JSON
        """Write a file of this run: tensors, the configuration, and what else belongs to them."""
        text = json.dumps({"format": FORMAT, "config": self.config.to_json(), **about})
        # one metadata entry only: safetensors writes several in random order, and equal runs shall give equal files
        data = save({name: value.contiguous() for name, value in tensors.items()}, metadata={METADATA: text})
        write_atomic(path, data)


@dataclass(frozen=True, eq=False)
class RunFile:
    """A file that a `Run` wrote.

    Attributes:
        path: the file.
        config: of its run.
        tensors: by name.
        about: all of its metadata.
    """

    path: Path
    config: RunConfig
    tensors: Tensors
    about: dict[str, Any]


def _read(path: Path) -> RunFile:
    """Read a file that a `Run` wrote.

    Raises:
        RunError: it is damaged or of another format.
    """
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
    try:
        return RunFile(path, RunConfig.from_json(about["config"]), tensors, about)
    except (KeyError, TypeError, AttributeError) as error:
        message = f"{path} is damaged or not a pfedge run: {error}"
        raise RunError(message) from error


def _pretty(value: Any) -> bytes:  # noqa: ANN401 -- JSON
    return (json.dumps(value, indent=2) + "\n").encode()
