"""How a run is carried out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pfedge_runtime.errors import UsageError


@dataclass(frozen=True)
class TrainSettings:
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
        eval_every: epochs between measurements of every prompt mode; the last epoch is always measured.
        eval_limit: images of each such measurement; 0 is all.
        eval_split: the split measured on, `val` or `test`.
        cache: `isolated`: where keys and values are kept: `auto`, `memory`, `disk` or `none` (computed every epoch).
        skip_unreadable: train without files that cannot be read, and list them in the run; else they are an error.

    Raises:
        UsageError: there is no such evaluation split.
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
    skip_unreadable: bool = False

    def __post_init__(self) -> None:
        """Refuse what would only fail after the first epoch."""
        if self.eval_split not in {"val", "test"}:
            message = f"unknown evaluation split {self.eval_split!r}: choose val or test"
            raise UsageError(message)
