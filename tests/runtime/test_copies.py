"""Copies of a forgotten row, wherever they lie: dropped where that can be done, and named where it cannot."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pfedge.guarantees import load_model
from pfedge.runs.sweep import CONFIG, ENTRY, FORMAT, RunFile, sweep_runs
from pfedge_runtime import Bundle, PromptBank, StatisticsBank, forget
from pfedge_runtime.bank import RowKey, SealedBank, encode, seal
from pfedge_runtime.files import canonical_json
from pfedge_runtime.forgetting import adopt, write_keys
from pfedge_runtime.sweeping import Trace, archives, sweep, traces
from pfedge_runtime.sweeping.traces import Mark, Windows
from support.paths import GOLDEN

THREE = RowKey(3)


def golden_bundle(guarantee, to):
    folder = GOLDEN if guarantee == "shared" else GOLDEN / guarantee
    return Path(shutil.copytree(folder / "bundle", to))


@pytest.fixture
def attic(tmp_path):
    """Where copies lie."""
    folder = tmp_path / "attic"
    folder.mkdir()
    return folder


@pytest.fixture
def home(bundle_path):
    """The bundle that class 3 is forgotten in: opened before, with the trace of that row and its bytes."""
    bundle = Bundle.open(bundle_path)
    return bundle, Trace.of(bundle, [THREE]), bytes(bundle.bank().row_bytes(THREE)[0])


def swept(home, *folders, **options):
    bundle, trace, _ = home
    if 3 in bundle.stored_bank().class_ids and not options.get("dry_run"):
        forget(bundle.path, ["3"])
    return sweep(trace, folders, bundle.state, others=sweep_runs, **options)


def brief(findings):
    return [(finding.path.name, finding.member, finding.what, finding.action) for finding in findings]


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize("guarantee", ["shared", "isolated", "exact"])
def test_another_copy_of_the_bundle_forgets_too_and_keeps_the_rest(guarantee, tmp_path, attic):
    bundle = Bundle.open(golden_bundle(guarantee, tmp_path / "home"))
    bank = bundle.bank()
    copy = golden_bundle(guarantee, attic / "deep" / "copy")
    (attic / "holds").write_bytes(b"x" * 5 + bank.row_bytes(THREE)[0])
    home = bundle, Trace.of(bundle, [THREE]), b""
    findings = swept(home, attic)
    assert brief(findings) == [
        ("bank.safetensors", "", "row", "dropped"),
        ("holds", "", "bytes", "not reached"),
    ]
    assert (copy / "bank.safetensors").read_bytes() == bank.drop({3}).to_bytes()
    receipt = Path(findings[0].reason.rpartition(" ")[2])
    assert receipt.is_file()
    json.dumps([finding.to_json() for finding in findings])
    assert brief(swept(home, attic)) == [("holds", "", "bytes", "not reached")]


@pytest.mark.parametrize(
    "name", [".ipynb_checkpoints/bank", "._bank", "bank.part", "bank~", "__MACOSX/bank", ".git/bank"]
)
def test_what_is_no_data_is_searched_all_the_same(home, attic, name):
    _, _, row = home
    (attic / name).parent.mkdir(exist_ok=True)
    (attic / name).write_bytes(b"before" + row + b"after")
    assert [finding.path for finding in swept(home, attic)] == [attic / name]


def test_a_loose_bank_loses_the_row_under_whatever_class_id_and_name(home, attic):
    bank = home[0].bank()
    parts = {part: bank.row(3)[part][None] for part in ("prompts", "head_weight", "head_bias", "threshold")}
    other = bank.select({1, 2})
    grown = PromptBank.joined([other, PromptBank(class_ids=(77,), **parts)])
    recalibrated = PromptBank(class_ids=(5,), **{**parts, "threshold": np.ones(1, np.float32)})
    (attic / "loose.safetensors").write_bytes(grown.to_bytes())
    (attic / "bank.bak").write_bytes(PromptBank.joined([other, recalibrated]).to_bytes())
    (attic / "none.safetensors").write_bytes(other.to_bytes())
    assert brief(swept(home, attic)) == [
        ("bank.bak", "", "row", "dropped"),
        ("loose.safetensors", "", "row", "dropped"),
    ]
    assert {path.read_bytes() for path in attic.iterdir()} == {bytes(other.to_bytes())}


def test_a_bank_with_no_other_row_and_one_with_two_names_are_left_and_named(home, attic, tmp_path):
    bank = home[0].bank()
    (attic / "only.safetensors").write_bytes(bank.select({3}).to_bytes())
    (attic / "linked.safetensors").write_bytes(bank.to_bytes())
    os.link(attic / "linked.safetensors", tmp_path / "elsewhere")
    before = snapshot(tmp_path / "attic")
    findings = swept(home, attic)
    assert [finding.action for finding in findings] == ["not reached"] * 2
    assert "is a link" in findings[0].reason
    assert "at least one row" in findings[1].reason
    assert snapshot(attic) == before


def test_a_bundle_whose_last_row_it_is_and_one_that_does_not_open(home, attic, new_device):
    last = golden_bundle("shared", attic / "last")
    forget(last, [str(c) for c in range(10) if c != 3], state=new_device())
    broken = golden_bundle("shared", attic / "broken")
    (broken / "graph.onnx").write_bytes(b"")
    found = {finding.path.parent.name: finding for finding in swept(home, attic)}
    assert found["last"].action == "not reached"
    assert "at least one row" in found["last"].reason
    assert found["broken"].action == "dropped"
    assert "written anew" in found["broken"].reason
    assert 3 not in PromptBank.load(broken / "bank.safetensors").class_ids


def test_rows_by_source_go_only_where_class_or_source_goes_whole(tmp_path, attic):
    bundle = Bundle.open(golden_bundle("exact", tmp_path / "home"))
    row = bundle.bank().rows[RowKey(3)]
    rows = {RowKey(0, "a"): bundle.bank().rows[RowKey(0)], RowKey(0, "b"): row, RowKey(1, "a"): row}
    loose = StatisticsBank(rows, bundle.bank().scale_bits, bundle.bank().shrinkage)
    (attic / "bank").write_bytes(loose.to_bytes())
    findings = swept((bundle, Trace.of(bundle, [THREE]), b""), attic)
    assert [finding.action for finding in findings] == ["dropped"] * 2
    assert list(StatisticsBank.load(attic / "bank").rows) == [RowKey(0, "a")]


def test_any_file_is_searched_at_every_offset_and_across_borders_of_what_is_read_at_once(home, attic, monkeypatch):
    monkeypatch.setattr(traces, "CHUNK", 100)
    content = home[2]
    for offset in range(0, 200, 7):
        (attic / f"{offset:03}.plan").write_bytes(bytes(offset) + content + bytes(50))
        (attic / f"{offset:03}.part").write_bytes(bytes(offset) + content[64:])
    (attic / "too-little").write_bytes(content[:63] + bytes(99))
    findings = swept(home, attic)
    assert len(findings) == 2 * len(range(0, 200, 7))
    assert {(finding.what, finding.action, finding.reason) for finding in findings} == {
        ("bytes", "not reached", "delete this file")
    }


def test_zeros_and_bytes_that_rows_which_stay_have_too_are_no_trace():
    rng = np.random.default_rng(0)
    particular, common = rng.bytes(64), rng.bytes(64)
    windows = Windows.of([(Mark("bytes", 0), bytes(64) + particular + common)])
    assert len(windows.keys) == 2
    windows = windows.without(windows.find(b"abc" + common))
    assert not windows.find(bytes(1000) + common)
    assert len(windows.find(b"x" + particular)) == 1
    assert not windows.without([0]).find(particular)


def test_banks_that_never_had_the_row_are_no_finding_and_stay_as_they_are(home, attic):
    data = bytes(home[0].bank().drop({3}).to_bytes())
    (attic / "others").write_bytes(data)
    assert swept(home, attic) == ()
    assert (attic / "others").read_bytes() == data


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_are_searched_and_left_as_they_are(home, attic, compression):
    bank = home[0].path / "bank.safetensors"
    content = bank.read_bytes()
    with zipfile.ZipFile(attic / "a.zip", "w", compression) as archive:
        archive.writestr("old/bank.safetensors", content)
        archive.write(home[0].path / "manifest.json", "old/manifest.json")
        archive.writestr("notes.txt", "nothing")
    with tarfile.open(attic / "b.tar.gz", "w:gz") as archive:
        archive.add(bank, "backup/bank")
        archive.add(attic / "a.zip", "backup/a.zip")
    (attic / "c.gz").write_bytes(gzip.compress(content))
    with tarfile.open(attic / "d.tar.xz", "w:xz") as archive:
        archive.add(attic / "c.gz", "c.gz")
    with tarfile.open(attic / "e.tar.bz2", "w:bz2") as archive:
        archive.add(home[0].graph_path, "graph.onnx")
    np.savez_compressed(attic / "f.npz", row=home[0].bank().row(3)["prompts"])
    before = snapshot(attic)
    findings = swept(home, attic)
    assert brief(findings) == [
        ("a.zip", "old/bank.safetensors", "bytes", "not reached"),
        ("b.tar.gz", "backup/a.zip > old/bank.safetensors", "bytes", "not reached"),
        ("b.tar.gz", "backup/bank", "bytes", "not reached"),
        ("c.gz", "", "bytes", "not reached"),
        ("d.tar.xz", "c.gz", "bytes", "not reached"),
        ("f.npz", "row.npy", "bytes", "not reached"),
    ]
    assert "a.zip > old/bank.safetensors: bytes of class 3 (3): delete the archive" in findings[0].describe()
    assert snapshot(attic) == before


def test_a_bomb_is_given_up_and_what_came_before_is_told(home, attic, monkeypatch):
    monkeypatch.setattr(archives, "LIMIT", 1 << 20)
    with zipfile.ZipFile(attic / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("first", home[2])
        archive.writestr("zeros", bytes(8 << 20))
    (attic / "nested.gz").write_bytes(gzip.compress(gzip.compress(bytes(8 << 20))))
    findings = swept(home, attic)
    assert brief(findings) == [
        ("bomb.zip", "", "unknown", "not reached"),
        ("bomb.zip", "first", "bytes", "not reached"),
        ("nested.gz", "", "unknown", "not reached"),
    ]
    assert "more than 1 MiB" in findings[0].reason


def test_archives_in_too_many_archives_are_named(home, attic, monkeypatch):
    data = home[2]
    for _ in range(5):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x", data)
        data = buffer.getvalue()
    (attic / "deep.zip").write_bytes(data)
    (finding,) = swept(home, attic)
    assert (finding.member, finding.what) == ("x > x > x > x", "unknown")
    monkeypatch.setattr(archives, "NESTED_ZIP", 10)
    (finding,) = swept(home, attic)
    assert "which was not looked into" in finding.reason


def test_what_is_damaged_or_unreadable_is_listed_and_the_rest_is_searched(home, attic):
    with zipfile.ZipFile(attic / "a.zip", "w") as archive:
        archive.writestr("bank", home[2])
        archive.writestr("whole", home[2])
    data = (attic / "a.zip").read_bytes()
    at = data.index(home[2])
    (attic / "a.zip").write_bytes(data[: at + 100] + b"\xff\x00\xff" + data[at + 103 :])  # a wrong CRC
    (attic / "b.zip").write_bytes(data[: len(data) // 2])
    (attic / "c.tar.gz").write_bytes(gzip.compress(os.urandom(10_000))[:5000])
    (attic / "d.tar").write_bytes(b"\xff" * 257 + b"ustar" + b"\xff" * 600)
    (attic / "e.safetensors").write_bytes(home[0].bank().to_bytes()[:-9])
    os.mkfifo(attic / "fifo")
    findings = swept(home, attic)
    assert brief(findings) == [
        ("a.zip", "bank", "unknown", "not reached"),
        ("a.zip", "whole", "bytes", "not reached"),
        ("b.zip", "", "unknown", "not reached"),
        ("b.zip", "", "bytes", "not reached"),
        ("c.tar.gz", "", "unknown", "not reached"),
        ("d.tar", "", "unknown", "not reached"),
        ("e.safetensors", "", "bytes", "not reached"),
    ]


def test_a_file_that_cannot_be_read_is_listed(home, attic, monkeypatch):
    from pfedge_runtime.sweeping import copies as module

    (attic / "closed").write_bytes(home[2])

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(module, "open_file", refuse)
    (finding,) = swept(home, attic)
    assert (finding.what, finding.action) == ("unknown", "not reached")
    assert "Permission denied" in finding.reason


def test_links_are_not_followed_and_the_devices_own_state_is_left_out(home, attic, tmp_path, device_state):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "bank.safetensors").write_bytes(home[0].bank().to_bytes())
    (attic / "folder").symlink_to(outside)
    (attic / "file.safetensors").symlink_to(outside / "bank.safetensors")
    (attic / "up").symlink_to(attic)
    device_state.mkdir()
    (device_state / "note").write_bytes(home[2])
    before = snapshot(outside)
    assert swept(home, attic, device_state, device_state.parent) == ()
    assert snapshot(outside) == before


def test_text_that_names_the_row_is_told_from_what_holds_it(home, attic):
    digest = home[1].rows[0].digest
    (attic / "audit.json").write_text(json.dumps({"row": digest}))
    (attic / "manifest.json").write_text(json.dumps({"row": digest}))
    assert brief(swept(home, attic)) == [("audit.json", "", "digest", "names it")]


def test_sealed_rows_are_found_sealed_and_open_and_so_are_their_keys(home, attic, new_device):
    bundle, _, content = home
    bank, state = bundle.bank(), new_device()
    sealed, keys = seal(bank)
    manifest = json.loads((bundle.path / "manifest.json").read_bytes())
    manifest.pop("digest")
    manifest["sealed"] = True
    manifest["digest"] = hashlib.sha256(canonical_json(manifest)).hexdigest()
    (bundle.path / "manifest.json").write_bytes(canonical_json(manifest))
    (bundle.path / "bank.safetensors").write_bytes(sealed.to_bytes())
    write_keys(attic / "keys.json", manifest["model_id"], keys)
    opened = Bundle.open(bundle.path, read_bank=False, state=state)
    adopt(opened, attic / "keys.json")
    trace = Trace.of(opened, [THREE])
    shutil.copytree(bundle.path, attic / "copy")
    (attic / "loose").write_bytes(sealed.to_bytes())
    (attic / "plain").write_bytes(bank.to_bytes())
    (attic / "raw").write_bytes(sealed.rows[RowKey(3)])
    (attic / "raw-open").write_bytes(content)
    forget(bundle.path, ["3"], state=state)
    assert brief(sweep(trace, [attic], state)) == [
        ("bank.safetensors", "", "row", "dropped"),
        ("keys.json", "", "key", "not reached"),
        ("loose", "", "row", "dropped"),
        ("plain", "", "row", "dropped"),
        ("raw", "", "sealed bytes", "not reached"),
        ("raw-open", "", "bytes", "not reached"),
    ]
    assert 3 not in SealedBank.load(attic / "loose").class_ids
    assert (attic / "plain").read_bytes() == bank.drop({3}).to_bytes()


@pytest.fixture
def run_and_trace(tiny_run, home, attic):
    """A copy of a run, and the trace of its row 1 as a bundle exported from it would give it."""
    folder = Path(shutil.copytree(tiny_run.folder, attic / "run"))
    bank = RunFile.read(folder / "model.safetensors").bank()
    row = home[1].rows[0]
    parts = [(Mark("bytes", 0), bytes(part)) for part in bank.row_bytes(RowKey(1))]
    row = dataclasses.replace(row, digest=bank.row_digest(1))
    return folder, Trace(home[1].home, (row,), Windows.of(parts))


def test_a_run_loses_the_class_in_its_model_and_every_checkpoint_and_still_loads(run_and_trace, home, attic):
    from pfedge.runs import run as runs

    folder, trace = run_and_trace
    assert (FORMAT, ENTRY, CONFIG) == (runs.FORMAT, runs.METADATA, runs.CONFIG)
    checkpoints = sorted(folder.glob("*_seed_42_*.safetensors"))
    assert len(checkpoints) == 3
    before = load_model(runs.Run.open(folder))
    findings = sweep(trace, [attic], home[0].state, others=sweep_runs)
    assert {finding.action for finding in findings} == {"dropped"}
    assert sorted(finding.path for finding in findings) == [*checkpoints, folder / "model.safetensors"]
    assert "row of another epoch" in {finding.what for finding in findings}
    run = runs.Run.open(folder)
    after = load_model(run)
    assert after.class_ids == (0, 3)
    assert json.loads((folder / "config.json").read_bytes()) == run.config.to_json()
    assert after.bank().to_bytes() == before.bank().drop({1}).to_bytes()
    for name, tensor in after.trained_state().items():
        assert tensor.equal(before.trained_state()[name])
    again = runs.Run(folder, run.config, folder / "again.safetensors")
    again.write(again.model_file, after.trained_state())
    assert again.model_file.read_bytes() == run.model_file.read_bytes()
    assert all(load_model(runs.Run.open(path)).class_ids == (0, 3) for path in checkpoints)


def test_a_state_to_resume_from_is_erased_whole(run_and_trace, home, attic):
    folder, trace = run_and_trace
    model = RunFile.read(folder / "model.safetensors")
    moved = {f"model.{name}": array + 1 for name, array in model.tensors.items()}
    about = json.dumps({**model.about, "state": {"epoch": 2, "step": 0, "history": []}})
    (folder / "resume.safetensors").write_bytes(encode(moved, about, entry=ENTRY))
    (finding,) = [one for one in sweep(trace, [attic], home[0].state, others=sweep_runs) if one.action == "erased"]
    assert "cannot be resumed" in finding.reason
    assert not (folder / "resume.safetensors").exists()


def test_a_run_of_that_row_alone_is_left_and_named(run_and_trace, home, attic):
    folder, trace = run_and_trace
    file = RunFile.read(folder / "model.safetensors")
    data = file.without({RowKey(0), RowKey(3)})
    shutil.rmtree(folder)
    (attic / "model.safetensors").write_bytes(data)
    (finding,) = sweep(trace, [attic], home[0].state, others=sweep_runs)
    assert finding.action == "not reached"
    assert "remove the run folder" in finding.reason


def test_a_run_of_sums_loses_the_row(home, attic, tmp_path):
    bundle = Bundle.open(golden_bundle("exact", tmp_path / "exact"))
    bank = bundle.bank()
    config = {"train": {"guarantee": "exact"}, "backbone_digest": "x", "class_ids": list(bank.class_ids)}
    for name, more in (("model.safetensors", {}), ("resume.safetensors", {"next": 3})):
        about = json.dumps({"format": FORMAT, "config": config, "bank": bank.about(), **more})
        (attic / name).write_bytes(encode(bank.tensors(), about, entry=ENTRY))
    trace = Trace.of(bundle, [THREE])
    assert brief(sweep(trace, [attic], bundle.state, others=sweep_runs)) == [
        ("model.safetensors", "", "row", "dropped"),
        ("resume.safetensors", "", "row", "erased"),
    ]
    assert RunFile.read(attic / "model.safetensors").bank().digest() == bank.drop({3}).digest()


def test_a_dry_run_lists_and_changes_nothing(home, attic, run_and_trace):
    golden_bundle("shared", attic / "copy")
    (attic / "loose").write_bytes(home[0].bank().to_bytes())
    (attic / "raw").write_bytes(home[2])
    before = snapshot(attic.parent)
    assert brief(swept(home, attic.parent, dry_run=True)) == [
        ("bank.safetensors", "", "row", "dropped"),
        ("loose", "", "row", "dropped"),
        ("raw", "", "bytes", "not reached"),
    ]
    sweep(run_and_trace[1], [attic], home[0].state, others=sweep_runs, dry_run=True)
    assert snapshot(attic.parent) == before


def test_progress_counts_files(home, attic):
    for name in "abc":
        (attic / name).write_bytes(b"")
    steps = []
    swept(home, attic, on_progress=lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_the_command_line_sweeps_after_forgetting_and_again_later(cli, home, attic):
    raw = attic / "raw.bin"
    raw.write_bytes(home[2])
    (attic / "loose").write_bytes(home[0].bank().to_bytes())
    dry = cli("forget", "--class", "3", "--sweep", attic, "--dry-run", check=False)
    assert dry.returncode == 1
    assert "would forget class 3" in dry.stdout
    assert "would be dropped\t" in dry.stdout
    outcome = cli("forget", "--class", "3", "--sweep", attic, "--yes", check=False, env={"PFEDGE_QUIET": "1"})
    assert outcome.returncode == 1
    assert outcome.stderr == ""
    assert f"not reached\t{raw}: bytes of class 3 (3): delete this file" in outcome.stdout
    assert "sweep: 1 dropped, 1 not reached" in outcome.stdout
    assert 3 not in Bundle.open(home[0].path).bank().class_ids
    golden_bundle("shared", attic / "late")
    again = json.loads(cli("forget", "--class", "3", "--sweep", attic, "--yes", "--json").stdout)
    assert again["forgotten"] == []
    assert again["bytes_unknown"] == ["class 3 (3)"]
    assert [(one["what"], one["action"]) for one in again["findings"]] == [("row", "dropped")]
    nothing = cli("forget", "--class", "3", "--class", "5", "--sweep", attic / "late", "--yes")
    assert "forgot class 5" in nothing.stdout
    assert "the bytes are not known" in nothing.stdout


def test_the_command_line_refuses_before_it_forgets(cli, home, tmp_path):
    before = home[0].bank_path.read_bytes()
    assert cli("forget", "--class", "3", "--sweep", tmp_path / "no", "--yes", check=False).returncode == 2
    assert cli("forget", "--sweep", tmp_path, "--yes", check=False).returncode == 2
    assert cli("forget", "--class", "3", "--source", "no", "--sweep", tmp_path, "--yes", check=False).returncode == 2
    assert home[0].bank_path.read_bytes() == before
