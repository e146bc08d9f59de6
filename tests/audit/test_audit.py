from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from pfedge.auditing.attacks import ONE_ROW, reach
from pfedge.auditing.audit import AuditInterruptedError, audit_run, overall
from pfedge.auditing.case import AuditSettings
from pfedge.auditing.registry import ATTACKS
from pfedge.auditing.report import AuditedClass, AuditReport
from pfedge.auditing.statistics import (
    INDISTINGUISHABLE,
    STILL_KNOWS,
    UNDECIDED,
    Attack,
    Estimate,
    Measure,
    Skipped,
    judge,
)
from pfedge.errors import DataError, RunError
from pfedge.exporting import ExportSettings, export_run, read_audits
from pfedge.guarantees import ExactConfig, IsolatedConfig, train
from pfedge.runs import Run
from pfedge.training import TrainSettings
from pfedge_runtime import Bundle
from pfedge_runtime.device import DeviceState
from pfedge_runtime.errors import BundleError, LastRowError, TombstoneError, UnknownClassError, UsageError
from pfedge_runtime.forgetting import forget
from pfedge_runtime.receipts import Receipt

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def exact_run(tmp_path_factory, tiny_vit, coloured_npz):
    folder = tmp_path_factory.mktemp("exact") / "run"
    config = ExactConfig(
        dataset=str(coloured_npz),
        model_name=str(tiny_vit),
        embedding_blocks=(1, 2),
        embedding_dim=16,
    )
    return train(config, TrainSettings(out=folder, save_dir=folder), QUIET)[0]


@pytest.fixture(scope="module")
def exact_bundle(exact_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exact") / "bundle"
    return export_run(exact_run, ExportSettings(out=folder))[0]


@pytest.fixture
def settings(tmp_path):
    return AuditSettings(out=tmp_path / "report", cache=tmp_path / "cache")


@pytest.fixture(scope="module")
def exact_report(exact_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    report = audit_run(exact_run, "1", AuditSettings(out=folder / "report", cache=folder / "cache"), QUIET)
    return folder, report


def replace_attacks(monkeypatch, other):
    """Let `other`, of a key, the attack and the case, stand in for each attack."""
    for key, attack in ATTACKS.items():
        monkeypatch.setitem(ATTACKS, key, partial(other, key, attack))


def test_an_exact_model_is_indistinguishable_in_every_attack_to_the_last_bit(exact_report):
    _, report = exact_report
    assert report.verdict == INDISTINGUISHABLE
    assert report.reference.same_bank
    judged = [measure for attack in report.attacks for measure in attack.measures]
    assert {attack.key for attack in report.attacks if attack.measures} >= {
        "utility",
        "membership",
        "neighbour",
    }
    assert all(measure.distance == measure.distance_error == 0 for measure in judged)


def test_the_report_names_what_was_audited_and_stands_in_two_files(exact_report, exact_run):
    folder, report = exact_report
    assert json.loads((folder / "report" / "report.json").read_bytes()) == report.to_json()
    page = (folder / "report" / "report.html").read_text()
    assert INDISTINGUISHABLE in page
    assert report.run.model_sha256 in page
    assert report.run.model_sha256 == hashlib.sha256(exact_run.model_file.read_bytes()).hexdigest()


def test_a_second_audit_takes_up_what_the_first_one_left(exact_report, exact_run, monkeypatch):
    folder, report = exact_report
    replace_attacks(monkeypatch, lambda *_: pytest.fail("an attack was made again"))
    monkeypatch.setattr("pfedge.auditing.retrained.train", lambda *_: pytest.fail("trained again"))
    again = audit_run(exact_run, "1", AuditSettings(out=folder / "again", cache=folder / "cache"), QUIET)
    assert again.attacks == report.attacks


def test_another_seed_is_another_audit(exact_report, exact_run, monkeypatch):
    folder, _ = exact_report
    made = []
    replace_attacks(monkeypatch, lambda key, attack, case: made.append(key) or attack(case))
    audit_run(exact_run, "1", AuditSettings(out=folder / "seed", cache=folder / "cache", seed=1), QUIET)
    assert set(made) == set(ATTACKS)


def test_an_interrupted_audit_keeps_what_is_finished(exact_run, settings, monkeypatch):
    def stop(key, attack, case):
        if key == "relearning":
            raise KeyboardInterrupt
        return attack(case)

    with monkeypatch.context() as patched:
        replace_attacks(patched, stop)
        with pytest.raises(AuditInterruptedError, match="the same command goes on") as error:
            audit_run(exact_run, "1", settings, QUIET)
    assert error.value.exit_code == 130
    assert not settings.out.exists()
    made = []
    replace_attacks(monkeypatch, lambda key, attack, case: made.append(key) or attack(case))
    audit_run(exact_run, "1", settings, QUIET)
    assert made == ["relearning", "inversion", "neighbour", "reach"]


def test_classes_that_cannot_be_audited_are_refused(exact_run, settings, tmp_path):
    with pytest.raises(UnknownClassError, match="unknown class 'nosuch'"):
        audit_run(exact_run, "nosuch", settings, QUIET)
    with pytest.raises(RunError, match=r"class 2 \(.*\) was never trained"):
        audit_run(exact_run, "2", settings, QUIET)
    alone = replace(exact_run, config=replace(exact_run.config, class_ids=(1,)))
    with pytest.raises(LastRowError):
        audit_run(alone, "1", settings, QUIET)
    with pytest.raises(UsageError, match="in pairs"):
        audit_run(exact_run, "1", replace(settings, shadows=3), QUIET)
    assert not settings.out.exists()


def test_a_bundle_of_another_run_is_refused(exact_run, tiny_run, settings, tmp_path):
    other = export_run(tiny_run, ExportSettings(out=tmp_path / "bundle"))[0]
    with pytest.raises(BundleError, match="does not belong to this run"):
        audit_run(exact_run, "1", replace(settings, bundle=other.path), QUIET)


def test_a_bundle_that_has_forgotten_the_class_is_audited_as_it_is(exact_run, exact_bundle, settings, tmp_path):
    copy = shutil.copytree(exact_bundle.path, tmp_path / "copy")
    forget(copy, ["1"], state=DeviceState.at())
    assert audit_run(exact_run, "1", replace(settings, bundle=copy), QUIET).verdict == INDISTINGUISHABLE


def test_on_a_machine_that_has_forgotten_the_class_its_own_bundles_are_another_devices(
    exact_run, exact_bundle, settings, tmp_path
):
    copy = shutil.copytree(exact_bundle.path, tmp_path / "copy")
    forget(copy, ["1"], state=DeviceState.at())
    lines = len(DeviceState.at().ledger().entries)
    assert audit_run(exact_run, "1", replace(settings, cache=tmp_path / "cache"), QUIET).verdict == INDISTINGUISHABLE
    assert len(DeviceState.at().ledger().entries) == lines  # not a line about the audit's bundles


def test_a_bundle_that_brings_the_class_back_is_refused_before_anything_is_trained(
    exact_run, exact_bundle, settings, tmp_path
):
    copy = shutil.copytree(exact_bundle.path, tmp_path / "copy")
    forget(copy, ["1"], state=DeviceState.at())
    own = replace(settings, bundle=exact_bundle.path, cache=tmp_path / "cache")
    with pytest.raises(TombstoneError, match="was forgotten"):
        audit_run(exact_run, "1", own, QUIET)
    assert not list((tmp_path / "cache").glob("reference-*"))


def test_a_bundle_that_has_forgotten_another_class_is_refused(exact_run, exact_bundle, settings, tmp_path):
    copy = shutil.copytree(exact_bundle.path, tmp_path / "copy")
    forget(copy, ["0"], state=DeviceState.at())
    with pytest.raises(RunError, match=r"has forgotten other rows too \(0\)"):
        audit_run(exact_run, "1", replace(settings, bundle=copy), QUIET)


def test_a_reference_of_another_recipe_is_refused(exact_run, tiny_run, settings):
    with pytest.raises(RunError, match="the reference must have"):
        audit_run(exact_run, "1", replace(settings, reference=(tiny_run.folder,)), QUIET)


@pytest.mark.slow
@pytest.mark.parametrize("guarantee", ["shared", "isolated"])
def test_trained_guarantees_are_audited_to_the_end(guarantee, tiny_run, tiny_vit, coloured_npz, settings, tmp_path):
    run = tiny_run
    if guarantee == "isolated":
        config = IsolatedConfig(
            dataset=str(coloured_npz),
            model_name=str(tiny_vit),
            epochs=2,
            batch_size=16,
            embedding_blocks=(1, 2),
        )
        run = train(config, TrainSettings(out=tmp_path / "run", save_dir=tmp_path / "run"), QUIET)[0]
    report = audit_run(run, "1", replace(settings, shadows=2, compare=True, compare_epochs=1), QUIET)
    attacks = {attack.key: attack for attack in report.attacks}
    (second,) = report.reference.more
    assert second.seed == report.reference.seed + 1
    assert second.model_sha256 != report.reference.model_sha256
    measures = [measure for attack in attacks.values() for measure in attack.measures if measure.judged]
    assert {len(measure.references) for measure in measures} == {2}
    assert any("LiRA" in measure.name for measure in attacks["membership"].measures)
    assert attacks["reach"].data["shared"] > 0 if guarantee == "shared" else attacks["reach"].data["shared"] == 0
    names = [row.name for row in report.baselines.rows]
    assert names[0] == f"pfedge {guarantee}, row dropped"
    assert {"retraining", "gradient ascent", "SalUn", "SSD"} <= set(names)
    assert (settings.out / "report.html").stat().st_size > 10_000


def test_a_bundle_names_its_audit_and_receipts_carry_it(exact_report, exact_run, tmp_path):
    folder, _ = exact_report
    path = folder / "report" / "report.json"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    bundle = export_run(exact_run, ExportSettings(out=tmp_path / "bundle", audits=(path,)))[0]
    assert bundle.manifest.audits == {"1": digest}
    state = DeviceState.at()
    for class_id, named in (("0", ""), ("1", digest)):
        receipt = forget(bundle.path, [class_id], state=state).receipt
        assert Receipt.verify(Path(receipt).read_bytes(), [state.public_key()]).audit == named
    assert Bundle.open(bundle.path).manifest.audits == {"1": digest}


def test_reports_that_are_none_of_this_run_are_refused(exact_report, exact_run, tiny_run, tmp_path):
    folder, report = exact_report
    path = folder / "report" / "report.json"
    with pytest.raises(RunError, match="the audit of another run"):
        read_audits(tiny_run, [path])
    with pytest.raises(RunError, match="two audits of class 1"):
        read_audits(exact_run, [path, path])
    for name, text in (("torn", path.read_bytes()[:-100]), ("other", b"[]"), ("empty", b"")):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(RunError, match="is no audit report"):
            read_audits(exact_run, [tmp_path / name])
    with pytest.raises(RunError, match="is no audit report"):
        read_audits(exact_run, [tmp_path / "nosuch"])
    (tmp_path / "future").write_text(json.dumps({**report.to_json(), "schema": "pfedge-audit/9"}))
    with pytest.raises(RunError, match="this version of pfedge knows"):
        read_audits(exact_run, [tmp_path / "future"])


def test_the_command_says_the_verdict_and_exits_by_it(exact_run, tiny_run, cli, tmp_path):
    done = cli("audit", exact_run.folder, "--forget", "1", "--cache", tmp_path / "a", "--out", tmp_path / "r")
    assert f"forgetting c1: {INDISTINGUISHABLE}" in " ".join(done.stdout.split()) or INDISTINGUISHABLE in done.stdout
    unknown = cli("audit", exact_run.folder, "--forget", "9", check=False)
    assert unknown.returncode == 2
    assert "unknown class '9'" in unknown.stderr


def test_the_exit_code_is_3_where_the_model_still_knows(tiny_run, cli, monkeypatch, tmp_path):
    from typer.testing import CliRunner

    from pfedge.cli.app import app

    verdict = AuditReport(AuditedClass(1, "c1"), attacks=(), verdict=STILL_KNOWS)
    monkeypatch.setattr("pfedge.auditing.audit.audit_run", lambda *_: verdict)
    outcome = CliRunner().invoke(app, ["audit", str(tiny_run.folder), "--forget", "1"])
    assert outcome.exit_code == 3
    assert "still knows" in outcome.output


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(exact_run, tmp_path):
    command = [sys.executable, "-m", "pfedge", "audit", str(exact_run.folder), "--forget", "1"]
    where = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "report")]
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # where the tests run in the background
    process = subprocess.Popen([*command, *where], stderr=subprocess.PIPE, text=True, preexec_fn=listen)
    while not list(tmp_path.glob("cache/attacks-*/utility.json")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    text = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert "the same command goes on from there" in text


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"key": 1}'])
def test_a_damaged_outcome_is_made_again(damage, exact_report, exact_run, settings):
    folder, report = exact_report
    cache = shutil.copytree(folder / "cache", settings.cache)
    kept = list(cache.glob("attacks-*/neighbour.json"))
    for path in kept:
        path.write_bytes(damage)
    again = audit_run(exact_run, "1", settings, QUIET)
    assert again.attacks == report.attacks
    assert any(path.read_bytes() != damage for path in kept)


def test_a_checkpoint_on_the_way_is_not_audited(tiny_run, settings):
    (last,) = sorted(tiny_run.folder.glob("*_seed_*_*.safetensors"))[-1:]
    with pytest.raises(RunError, match="audit the finished run"):
        audit_run(Run.open(last), "1", settings, QUIET)
    with pytest.raises(RunError, match="audit the finished run"):
        audit_run(tiny_run, "1", replace(settings, reference=(last,)), QUIET)


def test_rows_that_were_added_later_have_no_reference(exact_run, settings, tmp_path):
    copy = shutil.copytree(exact_run.folder, tmp_path / "run")
    run = Run.open(copy)
    grown = replace(run, config=replace(run.config, train=replace(run.config.train, train_limit=20)))
    with pytest.raises(RunError, match=r"are not of the inputs of .* alone"):
        audit_run(grown, "1", settings, QUIET)


def test_references_are_given_or_trained(exact_run, settings):
    given = replace(settings, reference=(exact_run.folder,), references=2)
    with pytest.raises(UsageError, match=r"either given .* or trained"):
        audit_run(exact_run, "1", given, QUIET)


def test_another_place_of_the_data_is_asked_for_where_it_has_moved(exact_run, settings):
    with pytest.raises(DataError, match="say where it is with --dataset or --data-root"):
        audit_run(exact_run, "1", replace(settings, dataset="nosuch.npz"), QUIET)


def test_a_clean_bill_needs_the_attacks_that_matter():
    same = Measure("m", None, Estimate(0.5, 0.5, 0.5), Estimate(0.5, 0.5, 0.5), 0.0, 0.0, None, None)
    told = replace(same, distance=0.5)
    few = (Skipped("all", "it needs 20"),)
    made = {key: Attack(key, key, "", (same,)) for key in ATTACKS}

    def verdict(changed=None, *, same_bank=False):
        return overall(judge(list((made | (changed or {})).values()), margin=0.1), same_bank=same_bank)

    lacking = {"relearning": Attack("relearning", "", "", (), skipped=few)}
    assert verdict() == INDISTINGUISHABLE
    assert verdict(lacking) == UNDECIDED
    assert verdict(lacking, same_bank=True) == INDISTINGUISHABLE  # a proof needs no attack
    assert verdict(lacking | {"utility": Attack("utility", "", "", (told,))}) == STILL_KNOWS
    assert verdict({"membership": Attack("membership", "", "", (), skipped=(ONE_ROW,))}) == INDISTINGUISHABLE


def test_a_run_begun_anew_does_not_keep_the_audit_of_the_old_one(exact_run, tmp_path):
    copy = shutil.copytree(exact_run.folder, tmp_path / "run")
    (copy / "audit").mkdir()
    (copy / "audit" / "bank.safetensors").touch()
    Run.create(copy, exact_run.config, resume=False, overwrite=True)
    assert not (copy / "audit").exists()


def test_opening_a_run_does_not_need_its_audit(exact_report, exact_run):
    assert Run.open(exact_run.folder).config == exact_run.config


def test_reach_counts_and_is_not_judged():
    attack = reach({"rows": 25, "shared": 75}, [], same_bank=False)
    assert attack.data["share"] == 0.75
    assert judge([attack], margin=0.1)[0].verdict == ""
