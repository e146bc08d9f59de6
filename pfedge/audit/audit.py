"""`pfedge audit`: three models, the same attacks, one report.

    report = audit_run(Run.open(path), "3", AuditSettings(out=Path("report")), console)
    report["verdict"]          # 'indistinguishable from never trained', 'better than before' or 'still knows'

What takes long is kept beside the run and found again: the reference, what shadow models said, and each attack's
outcome. An interrupted audit goes on with the same command.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from pfedge.audit.blackbox import Heard, inputs_to_ask, listen, membership, neighbour, utility
from pfedge.audit.contenders import contend
from pfedge.audit.measure import ERROR_RATE, Attack, judge, worst
from pfedge.audit.page import render
from pfedge.audit.pool import LIMIT, Pool
from pfedge.audit.retrained import require_reference, retrained
from pfedge.audit.shadows import DEFAULTS, Shadows, exact_shadows, isolated_shadows, shared_shadows
from pfedge.audit.sources import CITATIONS
from pfedge.audit.subject import Features, Subject, open_subject
from pfedge.audit.whitebox import Subjects, inversion, reach, relearning, representation
from pfedge.backbone import load_backbone
from pfedge.cache import Looks
from pfedge.device import choose_autocast, choose_device
from pfedge.errors import RunError
from pfedge.exact import ExactModel, embed_split
from pfedge.export import AUDIT_SCHEMA, ExportSettings, export_run
from pfedge.interrupt import TrainingInterruptedError
from pfedge.isolated import IsolatedModel
from pfedge.model import PromptBankModel
from pfedge.progress import bars
from pfedge.run import Model, Run
from pfedge.train import Settings, TrainConfig, config_of, open_dataset
from pfedge.version import versions
from pfedge_runtime.bundle import MANIFEST, Bundle
from pfedge_runtime.decision import Bank
from pfedge_runtime.encoding import canonical_json, sha256_file
from pfedge_runtime.errors import BundleError, LastRowError, PfedgeError, UsageError
from pfedge_runtime.floor import FileFloor
from pfedge_runtime.forgetting import forget
from pfedge_runtime.manifest import find_class
from pfedge_runtime.state import DeviceState
from pfedge_runtime.storage import make_folder, write_atomic

MARGIN = 0.1
REPORT, PAGE = "report.json", "report.html"
ATTACKS = ("utility", "membership", "representation", "relearning", "inversion", "neighbour", "reach")


class AuditInterruptedError(PfedgeError):
    """An audit was stopped on purpose; what was finished is kept."""

    exit_code = 130

    def __init__(self) -> None:
        """Say how to go on."""
        super().__init__("interrupted; what was finished is kept: the same command goes on from there")


@dataclass(frozen=True)
class AuditSettings:
    """How an audit is made.

    Attributes:
        out: folder of the report.
        bundle: the deployed bundle; None exports one.
        reference: a run that was trained without the class; None trains it.
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
    reference: Path | None = None
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


def audit_run(run: Run, forgotten: str, settings: AuditSettings, console: Console) -> dict[str, Any]:
    """Audit forgetting one class of a run; write the report and return it.

    Args:
        run: of any guarantee.
        forgotten: the class's id or name.
        settings: see there.
        console: where progress is shown.

    Raises:
        PfedgeError: the class was never trained, the bundle or the reference does not belong to the run, or a part
            cannot be loaded.
        AuditInterruptedError: Ctrl-C; the same call goes on.
    """
    shadows = DEFAULTS[run.config["train"]["guarantee"]] if settings.shadows is None else settings.shadows
    if shadows % 2:
        message = f"shadow models come in pairs: choose an even number, not {shadows}"
        raise UsageError(message)
    class_id = _require_class(run, forgotten)
    try:
        audit = _Audit(run, class_id, replace(settings, shadows=shadows), console)
        report = audit.report()
    except (TrainingInterruptedError, KeyboardInterrupt) as error:
        raise AuditInterruptedError from error
    make_folder(settings.out)
    write_atomic(settings.out / REPORT, (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
    write_atomic(settings.out / PAGE, render(report).encode())
    return report


class _Audit:
    """One audit: what its attacks need, computed when one asks for it."""

    def __init__(self, run: Run, class_id: int, settings: AuditSettings, console: Console) -> None:
        self.run, self.class_id, self.settings, self.console = run, class_id, settings, console
        recipe = config_of(run.config["train"])
        self.config: TrainConfig = replace(
            recipe, dataset=settings.dataset or recipe.dataset, model_name=settings.model_name or recipe.model_name
        )
        self.cache = settings.cache or run.folder / "audit"
        make_folder(self.cache)
        self.device = choose_device(settings.device)
        self.say(f"auditing: forgetting class {class_id} ({run.config['classes'][class_id]}) of {run.folder}")

    def say(self, what: str) -> None:
        self.console.print(what, highlight=False, soft_wrap=True)

    @cached_property
    def model(self) -> Model:
        return self._load(self.run)

    @cached_property
    def reference_model(self) -> Model:
        return self._load(self.reference)

    def _load(self, run: Run) -> Model:
        model = run.load_model(self.config.model_name)
        if not isinstance(model, ExactModel):
            model.to(self.device)
        return model

    @cached_property
    def pool(self) -> Pool:
        dataset = open_dataset(self.config, self._train_settings(), self.model.backbone)
        if list(dataset.classes) != self.run.config["classes"]:
            message = f"{self.config.dataset} has classes {list(dataset.classes)}, the run has others"
            raise RunError(message)
        ids = self.model.class_ids
        return Pool.of(dataset, self.model.backbone.preprocess, ids, limit=self.settings.limit, seed=self.settings.seed)

    @cached_property
    def reference(self) -> Run:
        given = self.settings.reference
        if given is not None:
            return require_reference(self.run, Run.open(given), self.class_id)
        return retrained(
            self.run,
            self.class_id,
            self.config,
            self.pool.digest,
            self.cache,
            self._train_settings(),
            self.console,
        )

    def _train_settings(self) -> Settings:
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
        return export_run(run, export, on_progress=lambda what: self.say(f"{what} ..."))[0]

    @cached_property
    def banks(self) -> tuple[Bank, Bank, Bank]:
        """The rows of the three models."""
        deployed = self.bundle.bank()
        after = deployed.drop({self.class_id}) if self.class_id in deployed.class_ids else deployed
        kept = self.model.bank().drop({self.class_id})
        if after.row_digests() != kept.row_digests():
            gone = sorted(set(kept.class_ids) - set(after.class_ids))
            message = f"{self.bundle.path} has forgotten other classes too ({gone}): audit a bundle that has the rest"
            raise RunError(message)
        return self.model.bank(), after, self.reference_model.bank()

    @cached_property
    def graphs(self) -> tuple[Path, Path]:
        """The graph deployed, and the reference's: another one only where something shared was trained."""
        if self.config.guarantee == "shared":
            return self.bundle.graph_path, self._export(self.reference).graph_path
        return self.bundle.graph_path, self.bundle.graph_path

    @cached_property
    def heard(self) -> Heard:
        index = inputs_to_ask(self.pool, self.class_id, self.model.class_ids)
        (before, after, reference), (graph, other) = self.banks, self.graphs
        self.say(f"asking the deployed graph about {len(index)} inputs, before, after and the reference")
        with bars(self.console) as progress:
            bar = progress.add_task("asking", total=3 * len(index))
            hear = partial(listen, pool=self.pool, index=index, tick=partial(progress.advance, bar))
            return Heard(
                self.class_id, self.pool, index, hear(graph, before), hear(graph, after), hear(other, reference)
            )

    @cached_property
    def looks(self) -> Looks | None:
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
        open_it: Callable[..., Subject] = partial(
            open_subject, pool=self.pool, looks=self.looks, embedding=self.embedding
        )
        kept = self.reference_model.class_ids
        return Subjects(
            forgotten=self.class_id,
            pool=self.pool,
            before=open_it(self.model, self.model.class_ids),
            after=open_it(self.model, kept),
            reference=open_it(self.reference_model, kept),
            seed=self.settings.seed,
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
        path = self.cache / f"shadows-{_digest(key)}.npz"
        if path.is_file():
            with np.load(path, allow_pickle=False) as file:
                kept: dict[str, NDArray[Any]] = dict(file)
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
        autocast = choose_autocast(self.settings.precision, self.device)
        common: dict[str, Any] = {"seed": self.settings.seed, "say": say}
        if isinstance(self.model, ExactModel) and self.embedding is not None:
            return exact_shadows(self.model.bank(), self.embedding, self.pool, self.class_id, count, **common)
        common["autocast"] = autocast
        if isinstance(self.model, IsolatedModel) and self.looks is not None:
            return isolated_shadows(self.config, self.model, self.looks, self.pool, self.class_id, count, **common)
        load = partial(load_backbone, self.config.model_name, image_size=self.config.image_size)
        return shared_shadows(
            self.config, load, self.model.class_ids, self.pool, self.class_id, count, device=self.device, **common
        )

    @property
    def same_bank(self) -> bool:
        """Whether the bank after forgetting is byte for byte the reference's."""
        return self.banks[1].digest() == self.banks[2].digest()

    def report(self) -> dict[str, Any]:
        """Make all attacks and return the report."""
        with ExitStack() as self._stack:
            identity = self._identity()
            parts = self.cache / f"attacks-{_digest(identity)}"
            make_folder(parts)
            attacks = judge(tuple(self._attack(key, parts) for key in ATTACKS), margin=self.settings.margin)
            rows = self._compare(parts, attacks) if self.settings.compare else None
        verdict = worst(attack.verdict for attack in attacks)
        pool, index = self.pool, self.class_id
        others = [c for c in self.model.class_ids if c != index]
        return {
            "schema": AUDIT_SCHEMA,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "class": {"id": index, "name": self.run.config["classes"][index]},
            "verdict": verdict,
            "margin": self.settings.margin,
            "error_rate": ERROR_RATE,
            "seed": self.settings.seed,
            **identity,
            "data": {
                "sha256": pool.digest,
                "inputs": {
                    "members": len(pool.find(0, [index])),
                    "non-members": len(pool.find((1, 2), [index])),
                    "others, training": len(pool.find(0, others)),
                    "others, test": len(pool.find(2, others)),
                },
            },
            "made_by": versions("pfedge", "torch", "transformers", "onnxruntime", "numpy", "scikit-learn"),
            "citations": CITATIONS,
            "attacks": [attack.to_json() for attack in attacks],
            **({"baselines": rows} if rows is not None else {}),
        }

    def _identity(self) -> dict[str, Any]:
        """Return what was audited, by digests."""
        train = self.run.config["train"]
        metrics = json.loads((self.reference.folder / "metrics.json").read_text())
        return {
            "run": {
                "name": self.run.name,
                "dataset": self.run.config["dataset_name"],
                "guarantee": train["guarantee"],
                "backbone": Path(train["model_name"]).name,
                "seed": train["seed"],
                "model_sha256": sha256_file(self.run.model_file),
                "backbone_digest": self.run.config["backbone_digest"],
            },
            "bundle": {
                "model_id": self.bundle.manifest.model_id,
                "manifest_sha256": sha256_file(self.bundle.path / MANIFEST),
                "graph_sha256": sha256_file(self.bundle.graph_path),
                "bank_after": self.banks[1].digest(),
                "device": "cpu",
                "precision": self.bundle.manifest.precision,
            },
            "reference": {
                "model_sha256": sha256_file(self.reference.model_file),
                "seed": self.reference.config["train"]["seed"],
                "train_seconds": metrics["train_seconds"],
                "same_graph": self.graphs[0] == self.graphs[1],
                "same_bank": self.same_bank,
            },
            "code": {"sha256": _code_digest(), "shadows": self.settings.shadows, "limit": self.settings.limit},
        }

    def _attack(self, key: str, parts: Path) -> Attack:
        """Make one attack, or take its outcome from an earlier call."""
        path = parts / f"{key}.json"
        if path.is_file():
            self.say(f"{key}: kept from an earlier call")
            return Attack.from_json(json.loads(path.read_text()))
        started, seed = time.perf_counter(), self.settings.seed
        with bars(self.console) as progress:
            tick = _ticker(progress, key)
            if key == "utility":
                attack = utility(self.heard, self.run.config["classes"], seed=seed)
            elif key == "membership":
                attack = membership(self.heard, self.shadows, self._why_no_shadows(), seed=seed)
            elif key == "neighbour":
                attack = neighbour(self.heard, seed=seed)
            elif key == "reach":
                attack = reach(self.model.trained_parameters(), _norms(self.model), same_bank=self.same_bank)
            else:
                how = {"representation": representation, "relearning": relearning, "inversion": inversion}[key]
                attack = how(self.subjects, tick)
        write_atomic(path, json.dumps(attack.to_json()).encode())
        self.say(f"{key}: {time.perf_counter() - started:.0f} s")
        return attack

    def _why_no_shadows(self) -> str:
        seconds = json.loads((self.reference.folder / "metrics.json").read_text())["train_seconds"]
        return (
            f"it needs shadow models, each about {max(1, round(seconds / 120))} minutes of training here: "
            "--shadows 8 makes them"
        )

    def _compare(self, parts: Path, attacks: tuple[Attack, ...]) -> dict[str, Any]:
        """Compare with other ways to forget."""
        dataset = open_dataset(self.config, self._train_settings(), self.model.backbone)
        return contend(
            self.subjects,
            dataset.train.prepared(self.model.backbone.preprocess),
            self.config,
            attacks,
            parts,
            epochs=self.settings.compare_epochs,
            forgetting_seconds=self._forgetting_seconds(),
            train_seconds=json.loads((self.reference.folder / "metrics.json").read_text())["train_seconds"],
            device=self.device,
            say=self.say,
        )

    def _forgetting_seconds(self) -> float | None:
        """Forget the class in a copy of the bundle, on a device of its own; None if the bundle has forgotten it."""
        if self.class_id not in self.bundle.bank().class_ids:
            return None
        with TemporaryDirectory() as folder:
            where = Path(folder).resolve()
            copy = shutil.copytree(self.bundle.path, where / "bundle")
            device = DeviceState(where / "device", FileFloor(where / "floor"))
            return forget(copy, [str(self.class_id)], state=device).milliseconds / 1e3


def _require_class(run: Run, text: str) -> int:
    """Return the id of a class that the run was trained on, and is not its only one."""
    class_id, ids = find_class(run.config["classes"], text), run.config["class_ids"]
    if class_id not in ids:
        message = f"class {class_id} ({run.config['classes'][class_id]}) was never trained in {run.folder}"
        raise RunError(message)
    if len(ids) == 1:
        raise LastRowError
    return class_id


def _require_bundle(bundle: Bundle, bank: Bank) -> Bundle:
    """Return a bundle whose rows at export were those of a run."""
    exported = {(entry.id, source): row for entry in bundle.manifest.classes for source, row in entry.rows.items()}
    if exported != bank.row_digests():
        message = f"{bundle.path} does not belong to this run: it was exported with other rows"
        raise BundleError(message)
    return bundle


def _norms(model: Model) -> list[dict[str, Any]]:
    """Return the norm of what LoRA adds to each weight, and its share of the weight's own."""
    if not isinstance(model, PromptBankModel):
        return []
    found = []
    for name, module in model.backbone.attention_projections():
        added = module.get_delta_weight("default").detach()
        own = module.base_layer.weight.detach()
        norm = float(added.norm())
        found.append({"name": name, "norm": norm, "relative": norm / float(own.norm())})
    return found


def _ticker(progress: Progress, name: str) -> Callable[[], None]:
    bar = progress.add_task(name, total=None)
    return lambda: progress.advance(bar)


def _code_digest() -> str:
    """Return SHA-256 over the source of the audit."""
    whole = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()[:16]


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomic(path, buffer.getvalue())
