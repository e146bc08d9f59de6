"""`pfedge audit`: three models, the same attacks, one report.

    report = audit_run(Run.open(path), "3", AuditSettings(out=Path("report")), console)
    report.verdict          # 'indistinguishable from never trained', 'better than before', 'still knows', ...

Each attack's outcome is kept until the report is written, and longer: an interrupted audit goes on with the same
command.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from pfedge.auditing.attacks import MIN_INPUTS, ONE_ROW
from pfedge.auditing.baselines import contend
from pfedge.auditing.case import AuditSettings, Case
from pfedge.auditing.citations import CITATIONS
from pfedge.auditing.identity import METHOD, Identity, train_seconds
from pfedge.auditing.page import render
from pfedge.auditing.registry import ATTACKS
from pfedge.auditing.report import AuditCode, AuditedClass, AuditedData, AuditReport, Comparison
from pfedge.auditing.retrained import require_finished
from pfedge.auditing.statistics import ERROR_RATE, NOTHING_FOUND, UNDECIDED, Attack, judge, worst
from pfedge.data import TEST, TRAIN, VAL
from pfedge.errors import RunError
from pfedge.exporting import AUDIT_SCHEMA
from pfedge.guarantees import guarantee_of
from pfedge.interrupt import TrainingInterruptedError
from pfedge.runs import Run
from pfedge.version import versions
from pfedge_runtime.bundle import class_text, find_class
from pfedge_runtime.device import DeviceState, FileFloor
from pfedge_runtime.errors import LastRowError, PfedgeError, UsageError
from pfedge_runtime.files import make_folder, write_atomic
from pfedge_runtime.forgetting import forget

REPORT, PAGE = "report.json", "report.html"
NEEDED = ("membership", "representation", "relearning")  # without these a clean bill says nothing


class AuditInterruptedError(PfedgeError):
    """An audit was stopped on purpose; what was finished is kept."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__("interrupted; what was finished is kept: the same command goes on from there")


def audit_run(run: Run, forgotten: str, settings: AuditSettings, console: Console) -> AuditReport:
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
            case.require_bundle()
            report = _report(case)
    except (TrainingInterruptedError, KeyboardInterrupt) as error:
        raise AuditInterruptedError from error
    make_folder(settings.out)
    write_atomic(settings.out / REPORT, (json.dumps(report.to_json(), indent=1, allow_nan=False) + "\n").encode())
    write_atomic(settings.out / PAGE, render(report).encode())
    return report


def _report(case: Case) -> AuditReport:
    """Make all attacks and return the report."""
    identity = Identity.of(case)
    folder = case.cache / f"attacks-{identity.digest}"
    make_folder(folder)
    attacks = judge([_load_or_make(case, key, folder) for key in ATTACKS], margin=case.settings.margin)
    return AuditReport(
        schema=AUDIT_SCHEMA,
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        audited_class=AuditedClass(case.class_id, case.run.config.classes[case.class_id]),
        verdict=overall(attacks, same_bank=case.same_bank),
        margin=case.settings.margin,
        error_rate=ERROR_RATE,
        run=identity.run,
        bundle=identity.bundle,
        reference=identity.reference,
        data=_data(case),
        seed=case.settings.seed,
        shadows=case.settings.shadows,
        method=METHOD,
        forgotten=case.class_id,
        code=AuditCode(identity.code_sha256, METHOD),
        made_by=versions("pfedge", "torch", "transformers", "onnxruntime", "numpy", "scikit-learn"),
        citations=CITATIONS,
        attacks=attacks,
        baselines=_compare(case, folder, attacks) if case.settings.compare else None,
    )


def _data(case: Case) -> AuditedData:
    """Return how many inputs of each kind there are."""
    own, others = [case.class_id], [other for other in case.model.class_ids if other != case.class_id]
    counts = {
        "members": len(case.pool.find(TRAIN, own)),
        "non-members": len(case.pool.find((VAL, TEST), own)),
        "others, training": len(case.pool.find(TRAIN, others)),
        "others, test": len(case.pool.find(TEST, others)),
    }
    return AuditedData(case.pool.digest, counts)


def overall(attacks: Sequence[Attack], *, same_bank: bool) -> str:
    """Return the audit's verdict: the worst of the attacks', if those that matter could be made.

    Args:
        attacks: judged.
        same_bank: whether the bank after forgetting is byte for byte the reference's, which no attack need show.
    """
    verdict = worst(attack.verdict for attack in attacks)
    made = {attack.key for attack in attacks if attack.measures or ONE_ROW in attack.skipped}
    return UNDECIDED if verdict in NOTHING_FOUND and not same_bank and set(NEEDED) - made else verdict


def _load_or_make(case: Case, key: str, folder: Path) -> Attack:
    """Return an attack's outcome: that of an earlier call, or else of the attack, made now and written to a folder."""
    path = folder / f"{key}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # what is not there, or damaged, is done again
        loaded = Attack.from_json(json.loads(path.read_text()))
        case.say(f"{key}: kept from an earlier call")
        return loaded
    started = time.perf_counter()
    attack = ATTACKS[key](case)
    write_atomic(path, json.dumps(attack.to_json()).encode())
    case.say(f"{key}: {time.perf_counter() - started:.0f} s")
    return attack


def _compare(case: Case, folder: Path, attacks: tuple[Attack, ...]) -> Comparison | None:
    """Compare with other ways to forget, as far as there are inputs to attack them with."""
    if reason := case.subjects.lacking(MIN_INPUTS):
        case.say(f"no comparison with other ways to forget: {reason}")
        return None
    return contend(
        case.subjects,
        case.dataset.train.prepared(case.model.backbone.preprocess),
        case.config,
        attacks,
        folder,
        epochs=case.settings.compare_epochs,
        forgetting_seconds=_forgetting_seconds(case),
        train_seconds=train_seconds(case.references[0]),
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
