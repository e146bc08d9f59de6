"""What an audit is about: a run, its bundle, the reference, and the inputs they are attacked with.

    case = Case(Run.open(path), 3, AuditSettings(out=Path("report")), console)
    with case:
        case.outputs, case.subjects, case.shadows          # each computed when it is first asked for

What takes long is kept in a cache beside the run: exported bundles, the reference, and what shadow models said.
"""

from __future__ import annotations

import hashlib
import io
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from pfedge.auditing.attacks import OutputsByModel, Subjects, inputs_to_ask, run_model
from pfedge.auditing.retrained import require_reference, retrained
from pfedge.compute import choose_autocast, choose_device
from pfedge.data import POOL_LIMIT, Dataset, Pool, split_digest
from pfedge.errors import DataError, RunError
from pfedge.exporting import ExportSettings, export_run
from pfedge.guarantees import Model, Shadows, WhiteBox, guarantee_of, load_model
from pfedge.progress import bars
from pfedge.runs import AUDIT, Run, TrainConfig
from pfedge.training import TrainSettings, open_dataset
from pfedge_runtime.arguments import as_paths
from pfedge_runtime.bank import Bank
from pfedge_runtime.bundle import MANIFEST, Bundle
from pfedge_runtime.device import DeviceState, FileFloor
from pfedge_runtime.errors import BundleError
from pfedge_runtime.files import canonical_json, make_folder, sha256_file, write_atomic

MARGIN = 0.1


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
    limit: int = POOL_LIMIT
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
        guarantee: the run's.
        config: the run's recipe, with data set and backbone where they are now.
        cache: where what takes long is kept.
        state: what the audit's own bundles are opened under; a bundle that is given is opened under this machine's.
        device: where torch computes.
        autocast: what a `shared` model's white boxes and shadow models compute in.
    """

    def __init__(self, run: Run, class_id: int, settings: AuditSettings, console: Console) -> None:
        self.run, self.class_id, self.settings, self.console = run, class_id, settings, console
        self._stack = ExitStack()
        recipe = run.config.train
        self.guarantee = guarantee_of(run)
        self.config: TrainConfig = replace(
            recipe, dataset=settings.dataset or recipe.dataset, model_name=settings.model_name or recipe.model_name
        )
        self.cache = settings.cache or run.folder / AUDIT
        self.state = DeviceState(  # of the audit's own bundles: this machine may have forgotten the class
            (self.cache / "device").resolve(), FileFloor((self.cache / "device.floor").resolve())
        )
        make_folder(self.cache)
        self.device = choose_device(settings.device)
        self.autocast = choose_autocast(settings.precision, self.device)
        self.say(f"auditing: forgetting class {class_id} ({run.config.classes[class_id]}) of {run.folder}")

    def __enter__(self) -> Case:  # noqa: PYI034 -- final in practice
        """Return the case; leaving it gives the memory and disk of keys and values back."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give back what the white box holds."""
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
        model = load_model(run, self.config.model_name)
        self.guarantee.ready_to_attack(model, self.device, self.autocast)
        return model

    @cached_property
    def dataset(self) -> Dataset:
        """What the run was trained on."""
        try:
            dataset = open_dataset(self.config, self.train_settings(), self.model.backbone)
        except DataError as error:
            message = f"{error} (an audit needs the data set: say where it is with --dataset or --data-root)"
            raise DataError(message) from error
        if dataset.classes != self.run.config.classes:
            message = f"{self.config.dataset} has classes {list(dataset.classes)}, the run has others"
            raise RunError(message)
        self.guarantee.require_own_data(self.run, self.model, dataset, source=self.config.dataset)
        return dataset

    @cached_property
    def pool(self) -> Pool:
        """The inputs."""
        ids, preprocess = self.model.class_ids, self.model.backbone.preprocess
        return Pool.of(self.dataset, preprocess, ids, limit=self.settings.limit, seed=self.settings.seed)

    @cached_property
    def references(self) -> tuple[Run, ...]:
        """The runs trained without the class: given, found in the cache, or trained now, each from its own seed."""
        given = tuple(as_paths(self.settings.reference))
        if given:
            return tuple(require_reference(self.run, Run.open(path), self.class_id) for path in given)
        count = self.settings.references or self.guarantee.references
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

    def train_settings(self) -> TrainSettings:
        """Return how anything is trained here."""
        own = self.settings
        return TrainSettings(
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

    def require_bundle(self) -> None:
        """Check a bundle that is given, before anything is trained.

        Raises:
            PfedgeError: it is damaged, of another run, or brings back what this machine has forgotten.
        """
        if self.settings.bundle is not None:
            self.bundle.bank()

    def _export(self, run: Run) -> Bundle:
        """Return a bundle of a run, exported to the cache unless it was before."""
        folder = self.cache / f"bundle-{sha256_file(run.model_file)[:16]}"
        if (folder / MANIFEST).is_file():
            return Bundle.open(folder, state=self.state)
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
        return export_run(run, export, state=self.state, on_progress=lambda what: self.say(f"{what} ..."))[0]

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
        another = self.guarantee.graph_is_trained
        return own, own, *(self._export(run).graph_path if another else own for run in self.references)

    @cached_property
    def outputs(self) -> OutputsByModel:
        """What the deployed graphs say."""
        index = inputs_to_ask(self.pool, self.class_id, self.model.class_ids)
        self.say(f"asking the deployed graph about {len(index)} inputs, before, after and the reference")
        with bars(self.console) as progress:
            bar = progress.add_task("asking", total=len(self.banks) * len(index))
            ask = partial(run_model, pool=self.pool, index=index, tick=partial(progress.advance, bar))
            before, after, reference, *more = map(ask, self.graphs, self.banks)
        return OutputsByModel(self.class_id, self.pool, index, before, after, reference, tuple(more))

    @cached_property
    def white_box(self) -> WhiteBox[Any]:
        """What an attacker computes once of the pool."""
        made = self.guarantee.white_box(
            self.model,
            self.pool,
            device=self.device,
            autocast=self.autocast,
            folder=self.cache,
            console=self.console,
        )
        self._stack.callback(made.close)
        return made

    @cached_property
    def subjects(self) -> Subjects:
        """The models as white boxes."""
        open_it = self.white_box.subject
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
        index, ids = self.outputs.index, self.model.class_ids
        key = {
            "model": sha256_file(self.run.model_file),
            "pool": self.pool.digest,
            "count": count,
            "seed": self.settings.seed,
            "class": self.class_id if self.guarantee.graph_is_trained else None,
        }
        path = self.cache / f"shadows-{short_digest(key)}.npz"
        kept = _kept_arrays(path)
        if kept is not None:
            self.say(f"shadow models: {path} is there already")
            if self.guarantee.after_is_before:
                kept["after"] = kept["before"][:, :, [c != self.class_id for c in ids]]
            return Shadows(ids, self.class_id, **kept).of(index)
        with bars(self.console) as progress:
            bar = progress.add_task("shadow models", total=None)
            made = self.white_box.shadows(
                self.config,
                self.class_id,
                count,
                seed=self.settings.seed,
                say=lambda what: progress.update(bar, description=what),
            )
        if not self.guarantee.shadows_take_seconds:
            _save(path, made.arrays() | ({"after": np.zeros(0)} if self.guarantee.after_is_before else {}))
        return made.of(index)

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
