"""The command line as a user meets it: output, exit codes, one-line errors."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pfedge_runtime import Bundle
from pfedge_runtime.bank import guarantee
from support.paths import GOLDEN


@pytest.fixture
def image(golden, tmp_path):
    path = tmp_path / "seven.png"
    Image.fromarray(golden["images"][0]).save(path)
    return path


def one_line(outcome):
    assert outcome.stderr.count("\n") == 1, outcome.stderr
    assert outcome.stderr.startswith("error: ")
    assert "Traceback" not in outcome.stderr
    return outcome.stderr


def test_help_teaches(cli):
    text = cli("--help").stdout
    for verb in ("train", "eval", "export", "predict", "forget", "inspect", "demo"):
        assert f"  {verb} " in text
    assert "pfedge forget --class 3" in text
    assert "Exit codes" in text


def test_version(cli):
    import pfedge

    assert cli("--version").stdout.strip() == f"pfedge {pfedge.__version__}"


@pytest.mark.parametrize("verb", ["train", "eval", "export", "predict", "forget", "inspect", "demo"])
def test_every_verb_has_help(cli, verb):
    assert "Usage:" in cli(verb, "--help").stdout


def test_predict_forget_predict(cli, bundle_path, image):
    before = json.loads(cli("predict", image, "--json").stdout)
    assert [row["class"] for row in before["rows"]] == list(range(10))
    assert "forgot class 3 (3)" in cli("forget", "--class", "3", "--yes").stdout
    after = json.loads(cli("predict", image, "--json").stdout)
    assert [row["class"] for row in after["rows"]] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert "3                                        forgotten" in cli("inspect").stdout


def test_predict_prints_a_line_an_image(cli, bundle_path, image):
    lines = cli("predict", image, image, "--no-thresholds").stdout.splitlines()
    assert len(lines) == 2
    source, answer, probability = lines[0].split("\t")
    assert source == str(image)
    assert answer.split()[0].isdigit()
    assert 0 <= float(probability) <= 1
    assert "abstained" in cli("predict", image, "--min-probability", "1").stdout


def test_an_unreadable_image_is_reported_and_the_others_predicted(cli, bundle_path, image, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"x")
    outcome = cli("predict", tmp_path / "bad.png", image, check=False)
    assert outcome.returncode == 1
    error, summary = outcome.stderr.splitlines()
    assert error.startswith("error: ")
    assert "bad.png is not an image" in error
    assert summary.startswith("2 inputs, ")
    assert ", 1 unreadable" in summary
    assert len(outcome.stdout.splitlines()) == 1


def test_forget_json_and_dry_run(cli, bundle_path):
    plan = json.loads(cli("forget", "-c", "3", "-c", "5", "--dry-run", "--json").stdout)
    assert plan["dry_run"]
    assert plan["coverage"] == [0, 1, 2, 4, 6, 7, 8, 9]
    assert len(Bundle.open(bundle_path).bank()) == 10
    outcome = json.loads(cli("forget", "-c", "3", "-c", "5", "--yes", "--json").stdout)
    assert outcome["bank_after"] == plan["bank_after"] == Bundle.open(bundle_path).bank().digest()


def test_forget_does_not_proceed_unasked(cli, bundle_path):
    outcome = cli("forget", "--class", "3", check=False, stdin="")
    assert outcome.returncode == 2
    assert "pass --yes" in one_line(outcome)
    assert len(Bundle.open(bundle_path).bank()) == 10


@pytest.mark.parametrize(("answer", "rows", "code"), [(b"y\n", 9, 0), (b"n\n", 10, 1)])
def test_forget_asks_on_a_terminal(bundle_path, answer, rows, code):
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pfedge", "forget", "--class", "3", "--bundle", bundle_path],
        stdin=follower, stdout=follower, stderr=follower,
    )  # fmt: skip
    os.close(follower)
    shown = b""
    while b"for good?" not in shown:
        shown += os.read(leader, 1024)
    for limit in (b"guarantee shared: ", b"does not reach: weights that all classes share", b"no undo without"):
        assert limit in shown  # before the question
    os.write(leader, answer)
    assert process.wait(timeout=60) == code
    os.close(leader)
    assert len(Bundle.open(bundle_path).bank()) == rows


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["forget", "--class", "99", "--yes"], "unknown class '99'", 2),
        (["forget", "--class", "nosuch", "--yes"], "unknown class 'nosuch'", 2),
        (["forget", *(f"--class={i}" for i in range(10)), "--yes"], "at least one row", 1),
        (["predict", "missing.png"], "no such file or folder: missing.png", 1),
        (["predict", "x.png", "--device", "tpu"], "unknown device 'tpu'", 2),
        (["predict", "x.png", "--bundle", "nowhere"], "no bundle at nowhere", 1),
        (["inspect", "--bundle", "nowhere"], "no bundle at nowhere", 1),
        (["train", "--data-type", "audio"], "--data-type audio does not fit bloodmnist, which is image data", 2),
        (["train", "--guarantee", "nosuch"], "unknown guarantee 'nosuch'", 2),
        (["eval"], "give one run folder", 2),
        (
            ["train", "--dataset", "digits", "--model-name", "builtin:micro", "--eval-split", "tset"],
            "choose val or test",
            2,
        ),
        (
            ["train", "--dataset", "digits", "--model-name", "builtin:micro", "--out", "/dev/null/x"],
            "Not a directory",
            1,
        ),
        (["export", "nowhere"], "no run at nowhere", 1),
        (["export", "nowhere", "--to", "tflite"], "unknown target 'tflite'", 2),
    ],
)
def test_mistakes_get_one_clear_line(cli, bundle_path, arguments, words, code):
    outcome = cli(*arguments, check=False, env={"PFEDGE_QUIET": "1"})
    assert words in one_line(outcome)
    assert outcome.returncode == code
    assert len(Bundle.open(bundle_path).bank()) == 10


def test_forgetting_twice_and_the_last_row(cli, bundle_path):
    cli("forget", *(f"--class={i}" for i in range(9)), "--yes")
    twice = cli("forget", "--class", "3", "--yes", check=False)
    assert "already forgotten" in one_line(twice)
    last = cli("forget", "--class", "9", "--yes", check=False)
    assert "at least one row" in one_line(last)
    assert (twice.returncode, last.returncode) == (1, 1)


def limit_file_size(size):
    """A real write error without a small disk: no file of the process may grow beyond `size` bytes."""
    resource = pytest.importorskip("resource")
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_bank_that_cannot_be_written_is_one_clear_line_and_loses_nothing(cli, bundle_path):
    before = (bundle_path / "bank.safetensors").read_bytes()
    outcome = cli("forget", "--class", "3", "--yes", check=False, preexec_fn=limit_file_size(2000))
    assert "File too large; what was there is unchanged" in one_line(outcome)
    assert outcome.returncode == 1
    assert (bundle_path / "bank.safetensors").read_bytes() == before
    assert "10 of 10 rows" in cli("inspect").stdout


@pytest.mark.slow
@pytest.mark.parametrize("size", [20_000, 75_000])
def test_a_bundle_that_cannot_be_written_is_one_clear_line_and_leaves_nothing(cli, tiny_run, tmp_path, size):
    outcome = cli("export", tiny_run.folder, "--out", "bundle", check=False, preexec_fn=limit_file_size(size))
    assert "bundle: " in outcome.stderr.splitlines()[-1]
    assert "Traceback" not in outcome.stderr
    assert outcome.returncode == 1
    assert [entry.name for entry in tmp_path.iterdir()] == []


def test_a_dicom_file_is_predicted(cli, bundle_path, tmp_path):
    from support.dicom import make_dicom

    path = make_dicom(tmp_path / "slice.dcm", np.arange(400).reshape(20, 20))
    assert json.loads(cli("predict", path, "--json").stdout)["source"] == str(path)


def test_a_damaged_bundle_is_one_clear_line(cli, bundle_path, image):
    graph = bundle_path / "graph.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    assert "graph.onnx is damaged" in one_line(cli("predict", image, check=False))


def test_a_missing_extra_is_named(cli, bundle_path, tmp_path):
    """A verb whose packages are not installed says which extra to install, and exits 2."""
    (tmp_path / "hide").mkdir()
    (tmp_path / "hide" / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    outcome = cli("train", "--dataset", "digits", env={"PYTHONPATH": str(tmp_path / "hide")}, check=False)
    assert "pip install 'pfedge[train]'" in one_line(outcome)
    assert outcome.returncode == 2


def test_inspect_json_and_self_test(cli, bundle_path):
    shown = json.loads(cli("inspect", "--selftest", "--json").stdout)
    assert shown["selftest"]["passed"]
    assert shown["manifest"]["guarantee"] == "shared"
    assert shown["coverage"] == list(range(10))


@pytest.mark.slow
def test_the_whole_path_with_the_references_options(cli, tiny_vit, coloured_npz, tmp_path):
    """Underscores or dashes, `--save_dir`, `--gpu_id`, `--data_type` and `--ckpt` mean what they mean there."""
    cli(
        "train", "--dataset", coloured_npz, "--data_type", "image", "--model_name", tiny_vit, "--batch_size", 16,
        "--epochs", 3, "--lr", "5e-3", "--seed", 7, "--gpu_id", 0, "--save_dir", "checkpoints",
    )  # fmt: skip
    folder = tmp_path / "checkpoints"
    assert {"coloured_seed_7_3.safetensors", "coloured_seed_7_accuracies.json", "coloured_seed_7"} <= {
        path.name for path in folder.iterdir()
    }
    shown = cli("eval", "--ckpt", folder / "coloured_seed_7_3.safetensors", "--save-dir", folder)
    assert "prompt dropped only" in shown.stdout
    assert (folder / "coloured_seed_7_inference_accuracies.json").is_file()
    result = json.loads(cli("eval", folder / "coloured_seed_7", "--json", "--no-modes").stdout)
    assert set(result["forgetting"]) == {"1", "2"}
    exported = json.loads(cli("export", folder / "coloured_seed_7", "--json").stdout)
    assert exported["parity"]["passed"]
    assert "coverage   3 of 3 rows" in cli("inspect").stdout
    again = cli("export", folder / "coloured_seed_7", check=False)
    assert "exists and is not empty" in one_line(again)


@pytest.mark.parametrize(
    ("golden_bundle", "sealed", "planned", "done"),
    [
        ("bundle", False, "the rows would be gone; ", "the rows are gone; "),
        ("exact/bundle", False, "the bank would be, byte for byte", "the bank is now, byte for byte"),
        ("exact/bundle", True, "the rows left would be, once decrypted", "the rows left are, once decrypted"),
    ],
)
def test_a_dry_run_says_what_would_be(cli, seal_bundle, tmp_path, golden_bundle, sealed, planned, done):
    path = shutil.copytree(GOLDEN / golden_bundle, tmp_path / "bundle")
    if sealed:
        seal_bundle(path)
    dry = cli("forget", "--class", "3", "--dry-run").stdout
    assert "nothing was changed" in dry
    assert f": {planned}" in dry
    assert done not in dry
    assert f": {done}" in cli("forget", "--class", "3", "--yes").stdout


@pytest.mark.parametrize("option", ["--dry-run", "--yes", None])
def test_a_request_that_cannot_be_used_is_refused_before_the_question(cli, bundle_path, option):
    options = [option] if option else []
    outcome = cli("forget", "--class", "3", "--request", "patient Jane Doe", *options, check=False, stdin="")
    assert outcome.returncode == 2
    assert "a request id has 1 to 64 letters" in one_line(outcome)
    assert 3 in Bundle.open(bundle_path).bank().class_ids


def test_a_decision_about_another_model_is_only_warned_of(cli, bundle_path, monkeypatch):
    from pfedge_runtime import forget

    with monkeypatch.context() as patch:
        patch.setattr("pfedge_runtime.forgetting.transaction.replace_erasing", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            forget(bundle_path, ["3"])
    shutil.rmtree(bundle_path)
    shutil.copytree(GOLDEN / "exact" / "bundle", bundle_path)
    outcome = cli("forget", "--class", "5", "--yes")
    assert "forgot class 5" in outcome.stdout
    assert outcome.stderr.startswith("warning: forgetting class 3 (3) is decided")


@pytest.mark.parametrize("folder", ["", "isolated", "exact"])
def test_inspect_says_what_the_receipt_will_say(cli, tmp_path, folder):
    path = shutil.copytree(GOLDEN / folder / "bundle", tmp_path / "bundle")
    said = cli("inspect").stdout
    assert f"forgetting does not reach: {guarantee(Bundle.open(path).manifest.guarantee).does_not_reach}" in said
    assert "0.0%" not in said


def test_predict_speaks_plainly(cli, bundle_path, image):
    named = cli("predict", image, "--no-thresholds")
    assert named.stderr.splitlines() == [
        "1 input, 0 abstained, 0 unreadable; the last column is the share among the rows left, uncalibrated",
        f"next: pfedge inspect --bundle {bundle_path}",
    ]
    abstained = cli("predict", image, "--min-probability", 1)
    source, said, reason = abstained.stdout.rstrip("\n").split("\t")
    assert (source, said.rpartition(": ")[0]) == (str(image), "abstained; closest")
    assert "share " in reason
    assert "probability" not in abstained.stdout
    assert abstained.stderr.startswith("1 input, 1 abstained, 0 unreadable\n")


def test_quiet_and_json_leave_standard_error_empty(cli, bundle_path, image):
    for arguments in (("-q", "predict", image), ("predict", image, "--json"), ("-q", "inspect"), ("inspect", "--json")):
        assert cli(*arguments).stderr == ""
    assert cli("inspect", env={"PFEDGE_QUIET": "1"}).stderr == ""


def test_each_verb_ends_with_the_next_one(cli, bundle_path, image):
    for arguments, following in (
        (("verify", bundle_path), f"adopt --bundle {bundle_path}"),
        (("adopt",), f"predict FILE --bundle {bundle_path}"),
        (("forget", "-c", "3", "--dry-run"), "the same command without --dry-run"),
        (("forget", "-c", "3", "--yes", "--request", "case-1"), "receipt verify "),
        (("receipt", "list"), "receipt verify FILE --key "),
        (("ledger", "show"), "ledger verify"),
        (("ledger", "verify"), "ledger export FOLDER"),
        (("device",), "ledger export FOLDER"),
    ):
        last = cli(*arguments).stderr.splitlines()[-1]
        assert last.startswith("next: ")
        assert last.removeprefix("next: ").removeprefix("pfedge ").startswith(following)


def test_forgetting_twice_is_no_error_if_present(cli, bundle_path):
    again = ("forget", "-c", "3", "--request", "case-1", "--if-present")
    cli(*again, "--yes")
    bank = (bundle_path / "bank.safetensors").read_bytes()
    assert "forgotten in this bundle already; nothing was done" in cli(*again).stdout
    assert (bundle_path / "bank.safetensors").read_bytes() == bank
    more = cli("forget", "-c", "3", "-c", "5", "--if-present", "--yes").stdout
    assert "forgot class 5 (5)" in more
    assert cli("forget", "-c", "nosuch", "--if-present", "--yes", check=False).returncode == 2
