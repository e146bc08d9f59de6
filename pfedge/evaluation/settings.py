"""What is evaluated, on what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EvalSettings:
    """What is evaluated, on what.

    Attributes:
        dataset: to test on; None is the run's.
        classes: class names in the order of their ids, of a folder or an .npz; empty takes those of training.
        model_name: where the backbone is now; None is where it was in training.
        data_root: where MedMNIST files lie.
        save_dir: where results go; None is beside the run.
        limit: at most so many test inputs; 0 is all.
        max_subsets: above so many subsets of a size, a random sample of them; 0 is never.
        sizes: how many classes to forget; empty is 1, K // 2 and K - 1, or every number where one pass tells all.
        modes: whether to measure accuracy in every prompt mode.
        forgetting: whether to measure forgetting.
        seed: of random subsets; None is the run's.
        device: a torch device, or `auto`.
        gpu_id: which GPU `auto` takes where there is one.
        precision: `auto`, `fp32` or `bf16`.
        batch_size: inputs a pass.
        download: fetch missing MedMNIST files.
    """

    dataset: str | None = None
    model_name: str | None = None
    data_root: Path | None = None
    save_dir: Path | None = None
    limit: int = 0
    max_subsets: int = 1000
    sizes: tuple[int, ...] = ()
    modes: bool = True
    forgetting: bool = True
    seed: int | None = None
    device: str = "auto"
    gpu_id: int = 0
    precision: str = "auto"
    batch_size: int = 32
    download: bool = True
    classes: tuple[str, ...] = ()
