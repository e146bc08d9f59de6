"""What an audit is about: a run, its bundle, the reference, and the inputs they are attacked with.

    case = Case(Run.open(path), 3, AuditSettings(out=Path("report")), console)
    with case:
        case.heard, case.subjects, case.shadows          # each computed when it is first asked for

What takes long is kept in a cache beside the run: exported bundles, the reference, and what shadow models said.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pfedge.auditing.attacks.blackbox import Heard, inputs_to_ask, listen
from pfedge.auditing.attacks.subjects import Subjects
from pfedge.auditing.retrained import require_reference, retrained
from pfedge.backbone.backbone import load_backbone
from pfedge.compute import choose_autocast, choose_device, computes_bf16
from pfedge.data import Dataset
from pfedge.data.pool import LIMIT, Pool, split_digest
from pfedge.errors import DataError, RunError
from pfedge.exporting import ExportSettings, export_run
from pfedge.guarantees.exact.model import ExactModel, embed_split
from pfedge.guarantees.isolated.model import IsolatedModel
from pfedge.guarantees.isolated.token_cache import Looks
from pfedge.guarantees.shadows import Shadows, exact_shadows, isolated_shadows, shared_shadows
from pfedge.guarantees.shared.model import PromptBankModel
from pfedge.guarantees.shared.train import Settings, TrainConfig, config_of, open_dataset
from pfedge.guarantees.subject import Features, Subject, open_subject
from pfedge.progress import bars
from pfedge.runs.run import AUDIT, Model, Run
from pfedge_runtime.bank import Bank
from pfedge_runtime.bundle import MANIFEST, Bundle
from pfedge_runtime.errors import BundleError
from pfedge_runtime.files import canonical_json, make_folder, sha256_file, write_atomic

MARGIN = 0.1
REFERENCES = {"shared": 2, "isolated": 2, "exact": 1}  # statistics are summed: another seed gives the same


@dataclass(frozen=True)
class AuditSettings:
    """How an audit is made.

    Attributes:
        out: folder of the report.
        bundle: the deployed bundle; None exports one.
        reference: runs that were trained without the class; none trains them.
        references: how many to train; None is one for `exact`, where chance has no part, else two.
        cache: where what takes long is kept; None is `audit` in the run's folder.
        margin: distances from the reference up to it are of no interest.
        shadows: how many shadow models; None is 32 for `exact`, 8 for `isolated`, none for `shared`.
        limit: at most so many inputs of each class and split.
        seed: of every draw of the audit.
        compare: compare with other ways to forget, too.
        compare_epochs: epochs of the ordinary model that these start from.
        dataset: where the data set is now; None is where it was in training.
        model_name: likewise the backbone.
        data_root: where the files of known data sets lie.
        download: fetch a missing MedMNIST file.
        device: a torch device, or `auto`.
        precision: `auto`, `fp32` or `bf16`.
    """

    out: Path
    bundle: Path | None = None
    reference: tuple[Path, ...] = ()
    references: int | None = None
    cache: Path | None = None
    margin: float = MARGIN
    shadows: int | None = None
    limit: int = LIMIT
    seed: int = 0
    compare: bool = False
    compare_epochs: int = 3
    dataset: str | None = None
    model_name: str | None = None
    data_root: Path | None = None
    download: bool = True
    device: str = "auto"
    precision: str = "auto"


class Case:
    """One run, one class to forget.

    Attributes:
        run: the run.
        class_id: the class.
        settings: how it is audited.
        console: where progress is shown.
        config: the run's recipe, with data set and backbone where they are now.
        cache: where what takes long is kept.
        device: where torch computes.
        autocast: what a `shared` model's white boxes and shadow models compute in.
    """

    def __init__(self, run: Run, class_id: int, settings: AuditSettings, console: Console) -> None:
        """Begin an audit; nothing is computed yet."""
        self.run, self.class_id, self.settings, self.console = run, class_id, settings, console
        self._stack = ExitStack()
        recipe = config_of(run.config["train"])
        self.config: TrainConfig = replace(
            recipe, dataset=settings.dataset or recipe.dataset, model_name=settings.model_name or recipe.model_name
        )
        self.cache = settings.cache or run.folder / AUDIT
        make_folder(self.cache)
        self.device = choose_device(settings.device)
        self.autocast = choose_autocast(settings.precision, self.device)
        self.say(f"auditing: forgetting class {class_id} ({run.config['classes'][class_id]}) of {run.folder}")

    def __enter__(self) -> Case:  # noqa: PYI034 -- final in practice
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give back the memory and disk of keys and values."""
        self._stack.close()

    def say(self, what: str) -> None:
        """Tell what happens."""
        self.console.print(what, highlight=False, soft_wrap=True)

    @cached_property
    def model(self) -> Model:
        """The model."""
        return self.load_model(self.run)

    @cached_property
    def reference_models(self) -> tuple[Model, ...]:
        """The references' models."""
        return tuple(map(self.load_model, self.references))

    def load_model(self, run: Run) -> Model:
        """Load the model of this run, or of another on the same backbone, to where it is attacked."""
        model = run.load_model(self.config.model_name)
        if not isinstance(model, ExactModel):
            model.to(self.device)
        if isinstance(model, PromptBankModel) and computes_bf16(self.autocast) and self.device.type == "cpu":
            model.backbone.spell_out_attention()
        return model

    @cached_property
    def dataset(self) -> Dataset:
        """What the run was trained on."""
        try:
            dataset = open_dataset(self.config, self.train_settings(), self.model.backbone)
        except DataError as error:
            message = f"{error} (an audit needs the data set: say where it is with --dataset or --data-root)"
            raise DataError(message) from error
        if list(dataset.classes) != self.run.config["classes"]:
            message = f"{self.config.dataset} has classes {list(dataset.classes)}, the run has others"
            raise RunError(message)
        if isinstance(self.model, ExactModel):
            counts = {class_id: row.count for class_id, row in self.model.bank().classes.items()}
            if counts != {c: int((dataset.train.labels == c).sum()) for c in counts}:
                message = (
                    f"the rows of {self.run.folder} are not of the inputs of {self.config.dataset} alone (--add-to?): "
                    "there is no reference for them to be compared with"
                )
                raise RunError(message)
        return dataset

    @cached_property
    def pool(self) -> Pool:
        """The inputs."""
        ids, preprocess = self.model.class_ids, self.model.backbone.preprocess
        return Pool.of(self.dataset, preprocess, ids, limit=self.settings.limit, seed=self.settings.seed)

    @cached_property
    def references(self) -> tuple[Run, ...]:
        """The runs trained without the class: given, found in the cache, or trained now, each from its own seed."""
        given = self.settings.reference
        if given:
            return tuple(require_reference(self.run, Run.open(path), self.class_id) for path in given)
        count = self.settings.references or REFERENCES[self.config.guarantee]
        digest = split_digest(self.dataset.train, self.model.backbone.preprocess)
        return tuple(
            retrained(
                self.run,
                self.class_id,
                replace(self.config, seed=self.config.seed + further),
                digest,
                self.cache,
                self.train_settings(),
                self.console,
            )
            for further in range(count)
        )

    def train_settings(self) -> Settings:
        """Return how anything is trained here."""
        own = self.settings
        return Settings(
            out=self.cache,
            save_dir=self.cache,
            data_root=own.data_root,
            download=own.download,
            device=own.device,
            precision=own.precision,
        )

    @cached_property
    def bundle(self) -> Bundle:
        """The deployed bundle: given, or exported."""
        given = self.settings.bundle
        return self._export(self.run) if given is None else _require_bundle(Bundle.open(given), self.model.bank())

    def _export(self, run: Run) -> Bundle:
        """Return a bundle of a run, exported to the cache unless it was before."""
        folder = self.cache / f"bundle-{sha256_file(run.model_file)[:16]}"
        if (folder / MANIFEST).is_file():
            return Bundle.open(folder)
        own = self.settings
        export = ExportSettings(
            out=folder,
            dataset=self.config.dataset,
            model_name=self.config.model_name,
            data_root=own.data_root,
            download=own.download,
        )
        if run is not self.run:
            export = as_deployed(export, self.bundle)
        return export_run(run, export, on_progress=lambda what: self.say(f"{what} ..."))[0]

    @cached_property
    def banks(self) -> tuple[Bank, ...]:
        """The rows of the models: before, after, and of every reference."""
        deployed = self.bundle.bank()
        after = deployed.drop({self.class_id}) if self.class_id in deployed.class_ids else deployed
        kept = self.model.bank().drop({self.class_id})
        if after.row_digests() != kept.row_digests():
            gone = sorted(set(kept.row_digests()) - set(after.row_digests()))
            rows = ", ".join(f"{class_id}@{source}" if source else str(class_id) for class_id, source in gone)
            message = f"{self.bundle.path} has forgotten other rows too ({rows}): audit a bundle that has the rest"
            raise RunError(message)
        return self.model.bank(), after, *(model.bank() for model in self.reference_models)

    @cached_property
    def graphs(self) -> tuple[Path, ...]:
        """The graph that each model is deployed in: another one only where something shared was trained."""
        own = self.bundle.graph_path
        shared = self.config.guarantee == "shared"
        return own, own, *(self._export(run).graph_path if shared else own for run in self.references)

    @cached_property
    def heard(self) -> Heard:
        """What the deployed graphs say."""
        index = inputs_to_ask(self.pool, self.class_id, self.model.class_ids)
        self.say(f"asking the deployed graph about {len(index)} inputs, before, after and the reference")
        with bars(self.console) as progress:
            bar = progress.add_task("asking", total=len(self.banks) * len(index))
            hear = partial(listen, pool=self.pool, index=index, tick=partial(progress.advance, bar))
            before, after, reference, *more = map(hear, self.graphs, self.banks)
        return Heard(self.class_id, self.pool, index, before, after, reference, tuple(more))

    @cached_property
    def looks(self) -> Looks | None:
        """Keys and values of the pool, of an `isolated` model."""
        if not isinstance(self.model, IsolatedModel):
            return None
        looks = Looks(self.model, self.pool.split(), self.cache)
        self._stack.callback(looks.close)
        with bars(self.console) as progress:
            bar = progress.add_task("caching keys and values", total=len(self.pool))
            looks.fill(lambda done: progress.update(bar, completed=done))
        return looks

    @cached_property
    def embedding(self) -> Features | None:
        """The embedding of the pool, of an `exact` model."""
        if not isinstance(self.model, ExactModel):
            return None
        with bars(self.console) as progress:
            bar = progress.add_task("embedding", total=len(self.pool))
            parts = []
            for _, part in embed_split(self.model.embedding, self.pool.split()):
                parts.append(part)
                progress.advance(bar, len(part))
        return np.concatenate(parts)

    @cached_property
    def subjects(self) -> Subjects:
        """The models as white boxes."""
        open_it: Callable[..., Subject] = partial(
            open_subject, pool=self.pool, looks=self.looks, embedding=self.embedding, autocast=self.autocast
        )
        reference, *more = self.reference_models
        kept = reference.class_ids
        return Subjects(
            forgotten=self.class_id,
            pool=self.pool,
            before=open_it(self.model, self.model.class_ids),
            after=open_it(self.model, kept),
            reference=open_it(reference, kept),
            seed=self.settings.seed,
            more=tuple(open_it(model, kept) for model in more),
        )

    @cached_property
    def shadows(self) -> Shadows | None:
        """What shadow models say of the inputs asked about."""
        count = self.settings.shadows or 0
        if count == 0:
            return None
        index, ids = self.heard.index, self.model.class_ids
        key = {
            "model": sha256_file(self.run.model_file),
            "pool": self.pool.digest,
            "count": count,
            "seed": self.settings.seed,
            "class": self.class_id if self.config.guarantee == "shared" else None,
        }
        path = self.cache / f"shadows-{short_digest(key)}.npz"
        kept = _kept_arrays(path)
        if kept is not None:
            self.say(f"shadow models: {path} is there already")
            if self.config.guarantee == "isolated":
                kept["after"] = kept["before"][:, :, [c != self.class_id for c in ids]]
            return Shadows(ids, self.class_id, **kept).of(index)
        with bars(self.console) as progress:
            bar = progress.add_task("shadow models", total=None)
            made = self._train_shadows(count, lambda what: progress.update(bar, description=what))
        if self.config.guarantee != "exact":  # seconds, and nothing of it need be kept
            arrays = made.arrays() | ({"after": np.zeros(0)} if self.config.guarantee == "isolated" else {})
            _save(path, arrays)
        return made.of(index)

    def _train_shadows(self, count: int, say: Callable[[str], None]) -> Shadows:
        common: dict[str, Any] = {"seed": self.settings.seed, "say": say}
        if isinstance(self.model, ExactModel) and self.embedding is not None:
            return exact_shadows(self.model.bank(), self.embedding, self.pool, self.class_id, count, **common)
        common["autocast"] = self.autocast
        if isinstance(self.model, IsolatedModel) and self.looks is not None:
            return isolated_shadows(self.config, self.model, self.looks, self.pool, self.class_id, count, **common)
        load = partial(load_backbone, self.config.model_name, image_size=self.config.image_size)
        return shared_shadows(
            self.config, load, self.model.class_ids, self.pool, self.class_id, count, device=self.device, **common
        )

    @property
    def same_bank(self) -> bool:
        """Whether the bank after forgetting is byte for byte that of every reference."""
        return len({bank.digest() for bank in self.banks[1:]}) == 1


def as_deployed(export: ExportSettings, bundle: Bundle) -> ExportSettings:
    """Return settings that export a reference as a bundle was exported: in as many bits, scaled alike."""
    manifest = bundle.manifest
    quantization = str(manifest.gate.get("quantization", export.quantization))
    return replace(export, precision=manifest.precision, quantization=quantization)


def _require_bundle(bundle: Bundle, bank: Bank) -> Bundle:
    """Return a bundle whose rows at export were those of a run."""
    if bundle.manifest.rows != bank.row_digests():
        message = f"{bundle.path} does not belong to this run: it was exported with other rows"
        raise BundleError(message)
    return bundle


def short_digest(value: dict[str, Any]) -> str:
    """Return the first 16 digits of the SHA-256 of JSON values."""
    return hashlib.sha256(canonical_json(value)).hexdigest()[:16]


def _kept_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """Return what `_save` wrote; None if it is not there, or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, BadZipFile):
        return None


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomic(path, buffer.getvalue())
