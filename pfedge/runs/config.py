"""What a run remembers of how it came to be: `config.json`, and the metadata of every file of the run.

run.config.train.guarantee, run.config.classes, run.config.class_ids
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pfedge.backbone import DEFAULT_BACKBONES
from pfedge.errors import RunError
from pfedge_runtime.arguments import as_texts


@dataclass(frozen=True)
class TrainConfig:
    """All that decides what a run learns.

    Each guarantee has a class of its own, such as `pfedge.guarantees.ExactConfig`, which refuses what has no meaning
    under it. All have the same fields, because all are remembered in the same form.

    Attributes:
        dataset: a data set's name or path (see `pfedge.data`).
        model_name: the backbone: hub name, local folder or `builtin:micro`.
        guarantee: what forgetting shall promise.
        tokens_per_class: T, prompt tokens of a row.
        epochs: passes over the training split.
        batch_size: samples a step.
        lr: Adam's learning rate; None is 1e-3, under `isolated` 1e-2, which falls to zero along a cosine.
        seed: of every random choice.
        image_size: side in pixels; None is the backbone's own.
        size: MedMNIST file size; None fits the image size.
        train_split: `train` or `val`.
        test_fold: the fold to test on, where the data set has folds; None is the last.
        exclude: classes (ids or names) trained without, as if they had never been.
        train_limit: at most so many training images; 0 is all.
        val_limit: likewise of those for thresholds and early looks.
        test_limit: likewise of those that training reports at its end.
        classes: class names in the order of their ids, of a folder or an .npz; empty takes those that it has.
        preprocessor: what a backbone without `preprocessor_config.json` is given in its place: see
            `pfedge.backbone.plain_preprocessor`.
        embedding_blocks: `isolated` and `exact`: after which blocks; empty is every second one from the middle.
        embedding_dim: `isolated` and `exact`: E; 0 is all that the blocks give, None is that under `isolated` and 768
            under `exact`, whose rows grow with its square.
        shrinkage: `exact`: share of the identity in the pooled covariance.
        source_column: `exact`: keep rows apart by this column of the data set.
        views: `isolated`: how many views of each training image there are: itself, then random crops and mirrors.
    """

    dataset: str = "bloodmnist"
    model_name: str = DEFAULT_BACKBONES["image"]
    guarantee: str = "shared"
    tokens_per_class: int = 1
    epochs: int = 10
    batch_size: int = 32
    lr: float | None = None
    seed: int = 42
    image_size: int | None = None
    size: int | None = None
    train_split: str = "train"
    test_fold: int | None = None
    exclude: tuple[str, ...] = ()
    train_limit: int = 0
    embedding_blocks: tuple[int, ...] = ()
    embedding_dim: int | None = None
    shrinkage: float = 0.1
    source_column: str | None = None
    views: int = 1
    val_limit: int = 0
    test_limit: int = 0
    classes: tuple[str, ...] = ()
    preprocessor: dict[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        """Take one excluded class for one."""
        object.__setattr__(self, "exclude", as_texts(self.exclude))
        object.__setattr__(self, "classes", as_texts(self.classes))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, in the order of the fields."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def remembered(self) -> TrainConfig:
        """Return the recipe as a run remembers it, which is equal to what is read back from its files."""
        return TrainConfig.from_json(self.to_json())

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TrainConfig:
        """Return what `to_json` gave; a field that an older version did not have gets its default."""
        known: dict[str, Any] = {}
        for name in (one.name for one in fields(cls) if one.name in value):
            known[name] = tuple(value[name]) if isinstance(value[name], list) else value[name]
        return cls(**known)


@dataclass(frozen=True)
class RunConfig:
    """What a run was trained on, and how.

    Attributes:
        train: the recipe.
        dataset_name: the data set's short name.
        classes: all class names; the class id is the position.
        class_ids: those that have a row, increasing.
        backbone_digest: of the frozen weights, see `pfedge.backbone.Backbone`.
        made_by: package -> version.
        embedding: under `isolated` and `exact`: which, see `pfedge.backbone.describe_embedding`.
        imported: of a checkpoint of the reference: its `file` and `sha256`.
    """

    train: TrainConfig
    dataset_name: str
    classes: tuple[str, ...]
    class_ids: tuple[int, ...]
    backbone_digest: str
    made_by: dict[str, str] = field(default_factory=dict)
    embedding: dict[str, Any] | None = None
    imported: dict[str, str] | None = None

    def require_embedding(self) -> dict[str, Any]:
        """Return which embedding rows were made of.

        Raises:
            RunError: the run does not say.
        """
        if self.embedding is None:
            message = f"the run on {self.dataset_name} does not say which embedding its rows are made of"
            raise RunError(message)
        return self.embedding

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "train": self.train.to_json(),
            "dataset_name": self.dataset_name,
            "classes": list(self.classes),
            "class_ids": list(self.class_ids),
            "backbone_digest": self.backbone_digest,
            **({"imported": self.imported} if self.imported is not None else {}),
            "made_by": self.made_by,
            **({"embedding": self.embedding} if self.embedding is not None else {}),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> RunConfig:
        """Return what `to_json` gave.

        Raises:
            KeyError: a field is missing.
            TypeError: a field is of another type.
        """
        return cls(
            train=TrainConfig.from_json(value["train"]),
            dataset_name=value["dataset_name"],
            classes=tuple(value["classes"]),
            class_ids=tuple(value["class_ids"]),
            backbone_digest=value["backbone_digest"],
            made_by=value.get("made_by", {}),
            embedding=value.get("embedding"),
            imported=value.get("imported"),
        )
