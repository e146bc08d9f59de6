"""`pfedge audit`: three models, the same attacks, one report.

    report = audit_run(Run.open(path), "3", AuditSettings(out=Path("report")), console)
    report["verdict"]          # 'indistinguishable from never trained', 'better than before', 'still knows', ...

Each attack's outcome is kept until the report is written, and longer: an interrupted audit goes on with the same
command.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.progress import Progress

from pfedge.auditing.attacks.blackbox import ONE_ROW, membership, neighbour, utility
from pfedge.auditing.attacks.relearning import inversion, relearning
from pfedge.auditing.attacks.representation import representation
from pfedge.auditing.attacks.subjects import MIN_INPUTS
from pfedge.auditing.baselines.contenders import contend
from pfedge.auditing.case import AuditSettings, Case, short_digest
from pfedge.auditing.citations import CITATIONS
from pfedge.auditing.page.page import render
from pfedge.auditing.retrained import require_finished
from pfedge.auditing.statistics.measure import ERROR_RATE, INDISTINGUISHABLE, UNDECIDED, Attack, judge, worst
from pfedge.data import TEST, TRAIN, VAL
from pfedge.errors import RunError
from pfedge.exporting import AUDIT_SCHEMA
from pfedge.guarantees import guarantee_of
from pfedge.interrupt import TrainingInterruptedError
from pfedge.progress import bars
from pfedge.runs.run import Run
from pfedge.version import versions
from pfedge_runtime.bundle import MANIFEST, class_text, find_class
from pfedge_runtime.device import DeviceState, FileFloor
from pfedge_runtime.errors import LastRowError, PfedgeError, UsageError
from pfedge_runtime.files import make_folder, sha256_file, write_atomic
from pfedge_runtime.forgetting import forget

METHOD = 2  # goes up when an attack would measure something else: kept outcomes are then of no use
REPORT, PAGE = "report.json", "report.html"
ATTACKS = ("utility", "membership", "representation", "relearning", "inversion", "neighbour", "reach")
NEEDED = ("membership", "representation", "relearning")  # without these a clean bill says nothing


class AuditInterruptedError(PfedgeError):
    """An audit was stopped on purpose; what was finished is kept."""

    exit_code = 130

    def __init__(self) -> None:
        """Say how to go on."""
        super().__init__("interrupted; what was finished is kept: the same command goes on from there")


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
    shadows = guarantee_of(run).shadows if settings.shadows is None else settings.shadows
    if shadows % 2:
        message = f"shadow models come in pairs: choose an even number, not {shadows}"
        raise UsageError(message)
    class_id = _require_class(run, forgotten)
    require_finished(run)
    if settings.reference and settings.references is not None:
        message = "references are either given (--reference) or trained (--references), not both"
        raise UsageError(message)
    try:
        with Case(run, class_id, replace(settings, shadows=shadows), console) as case:
            report = _report(case)
    except (TrainingInterruptedError, KeyboardInterrupt) as error:
        raise AuditInterruptedError from error
    make_folder(settings.out)
    write_atomic(settings.out / REPORT, (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
    write_atomic(settings.out / PAGE, render(report).encode())
    return report


def _report(case: Case) -> dict[str, Any]:
    """Make all attacks and return the report."""
    settings, class_id = case.settings, case.class_id
    identity = _identity(case)
    parts = case.cache / f"attacks-{short_digest({**identity, 'code': _code_digest()})}"
    make_folder(parts)
    attacks = judge([_kept(case, key, parts) for key in ATTACKS], margin=settings.margin)
    rows = _compare(case, parts, attacks) if settings.compare else None
    others = [other for other in case.model.class_ids if other != class_id]
    counts = {
        "members": len(case.pool.find(TRAIN, [class_id])),
        "non-members": len(case.pool.find((VAL, TEST), [class_id])),
        "others, training": len(case.pool.find(TRAIN, others)),
        "others, test": len(case.pool.find(TEST, others)),
    }
    return {
        "schema": AUDIT_SCHEMA,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "class": {"id": class_id, "name": case.run.config.classes[class_id]},
        "verdict": overall(attacks, same_bank=case.same_bank),
        "margin": settings.margin,
        "error_rate": ERROR_RATE,
        **identity,
        "data": {"sha256": case.pool.digest, "inputs": counts},
        "code": {"sha256": _code_digest(), "method": METHOD},
        "made_by": versions("pfedge", "torch", "transformers", "onnxruntime", "numpy", "scikit-learn"),
        "citations": CITATIONS,
        "attacks": [attack.to_json() for attack in attacks],
        **({"baselines": rows} if rows is not None else {}),
    }


def overall(attacks: Sequence[Attack], *, same_bank: bool) -> str:
    """Return the audit's verdict: the worst of the attacks', if those that matter could be made.

    Args:
        attacks: judged.
        same_bank: whether the bank after forgetting is byte for byte the reference's, which no attack need show.
    """
    verdict = worst(attack.verdict for attack in attacks)
    made = {attack.key for attack in attacks if attack.measures or ONE_ROW in attack.skipped}
    return UNDECIDED if verdict == INDISTINGUISHABLE and not same_bank and set(NEEDED) - made else verdict


def _identity(case: Case) -> dict[str, Any]:
    """Return what is audited, by digests, and how: all that an attack's outcome depends on."""
    train, (reference, *more) = case.run.config.train, case.references
    return {
        "run": {
            "name": case.run.name,
            "dataset": case.run.config.dataset_name,
            "guarantee": train.guarantee,
            "backbone": Path(train.model_name).name,
            "seed": train.seed,
            "model_sha256": sha256_file(case.run.model_file),
            "backbone_digest": case.run.config.backbone_digest,
        },
        "bundle": {
            "model_id": case.bundle.manifest.model_id,
            "manifest_sha256": sha256_file(case.bundle.path / MANIFEST),
            "graph_sha256": sha256_file(case.bundle.graph_path),
            "bank_after": case.banks[1].digest(),
            "device": "cpu",
            "precision": case.bundle.manifest.precision,
        },
        "reference": {
            **_about_reference(reference),
            "same_graph": len(set(case.graphs)) == 1,
            "same_bank": case.same_bank,
            "more": [_about_reference(run) for run in more],
        },
        "data": {"sha256": case.pool.digest},
        "seed": case.settings.seed,
        "shadows": case.settings.shadows,
        "method": METHOD,
        "forgotten": case.class_id,
    }


def _about_reference(run: Run) -> dict[str, Any]:
    return {
        "model_sha256": sha256_file(run.model_file),
        "seed": run.config.train.seed,
        "train_seconds": _train_seconds(run),
    }


def _kept(case: Case, key: str, parts: Path) -> Attack:
    """Make one attack, or take its outcome from an earlier call."""
    path = parts / f"{key}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # what is not there, or damaged, is done again
        kept = Attack.from_json(json.loads(path.read_text()))
        case.say(f"{key}: kept from an earlier call")
        return kept
    started = time.perf_counter()
    attack = attack_by(key, case)
    write_atomic(path, json.dumps(attack.to_json()).encode())
    case.say(f"{key}: {time.perf_counter() - started:.0f} s")
    return attack


def attack_by(key: str, case: Case) -> Attack:
    """Make one of `ATTACKS`; it has no verdict yet."""
    seed = case.settings.seed
    if key == "utility":
        return utility(case.heard, case.run.config.classes, seed=seed)
    if key == "membership":
        return membership(case.heard, case.shadows, _why_no_shadows(case), seed=seed)
    if key == "neighbour":
        return neighbour(case.heard, seed=seed)
    if key == "reach":
        return reach(case.model.trained_parameters(), case.guarantee.shared_norms(case.model), same_bank=case.same_bank)
    how = {"representation": representation, "relearning": relearning, "inversion": inversion}[key]
    with bars(case.console) as progress:
        return how(case.subjects, _ticker(progress, key))


def reach(trained: dict[str, int], norms: Sequence[dict[str, Any]], *, same_bank: bool) -> Attack:
    """Return what share of trained parameters forgetting cannot touch.

    Args:
        trained: how many stand in `rows`, and how many are `shared`.
        norms: name, norm and relative norm of each shared change of a weight.
        same_bank: whether the bank after forgetting is byte for byte the reference's.
    """
    share = trained["shared"] / max(1, sum(trained.values()))
    notes = [f"{trained['shared']:,} of {sum(trained.values()):,} trained numbers ({share:.1%}) are out of reach."]
    if same_bank:
        notes.append("The bank after forgetting is byte for byte that of the model trained without the class.")
    return Attack(
        key="reach",
        title="Parameters out of reach",
        question="What was trained on the class and stays when its row goes?",
        measures=(),
        notes=tuple(notes),
        data={"share": share, **trained, "norms": list(norms)},
    )


def _why_no_shadows(case: Case) -> str:
    minutes = max(1, round(_train_seconds(case.references[0]) / 120))  # half of the data
    return f"it needs shadow models, each about {minutes} minutes of training here: --shadows 8 makes them"


def _train_seconds(run: Run) -> float:
    """Return how long a run trained."""
    return run.metrics.train_seconds or 0.0


def _compare(case: Case, parts: Path, attacks: tuple[Attack, ...]) -> dict[str, Any] | None:
    """Compare with other ways to forget, as far as there are inputs to attack them with."""
    if reason := case.subjects.lacking(MIN_INPUTS):
        case.say(f"no comparison with other ways to forget: {reason}")
        return None
    return contend(
        case.subjects,
        case.dataset.train.prepared(case.model.backbone.preprocess),
        case.config,
        attacks,
        parts,
        epochs=case.settings.compare_epochs,
        forgetting_seconds=_forgetting_seconds(case),
        train_seconds=_train_seconds(case.references[0]),
        device=case.device,
        say=case.say,
    )


def _forgetting_seconds(case: Case) -> float | None:
    """Forget the class in a copy of the bundle, on a device of its own; None if the bundle has forgotten it."""
    if case.class_id not in case.bundle.bank().class_ids:
        return None
    with TemporaryDirectory(dir=case.cache) as folder:  # not where nobody would look for a row
        where = Path(folder).resolve()
        copy = shutil.copytree(case.bundle.path, where / "bundle")
        device = DeviceState(where / "device", FileFloor(where / "floor"))
        return forget(copy, [class_text(case.run.config.classes, case.class_id)], state=device).milliseconds / 1e3


def _require_class(run: Run, text: str) -> int:
    """Return the id of a class that the run was trained on, and is not its only one."""
    class_id, ids = find_class(run.config.classes, text), run.config.class_ids
    if class_id not in ids:
        message = f"class {class_id} ({run.config.classes[class_id]}) was never trained in {run.folder}"
        raise RunError(message)
    if len(ids) == 1:
        raise LastRowError
    return class_id


def _ticker(progress: Progress, name: str) -> Callable[[], None]:
    bar = progress.add_task(name, total=None)
    return lambda: progress.advance(bar)


def _code_digest() -> str:
    """Return SHA-256 over the source of the audit."""
    whole = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()
