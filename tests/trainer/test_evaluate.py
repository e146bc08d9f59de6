from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rich.console import Console

from pfedge.errors import DataError
from pfedge.evaluation import EvalSettings, evaluate_run
from pfedge_runtime.errors import UsageError

QUIET = Console(quiet=True)


def test_writes_the_references_layout_and_more(tiny_run, tmp_path):
    evaluation = evaluate_run(tiny_run.folder, EvalSettings(save_dir=tmp_path), QUIET)
    reference = json.loads((tmp_path / "coloured_seed_42_inference_accuracies.json").read_text())
    assert list(reference) == ["1", "2"]
    assert set(reference["1"]) == {"forget_mean", "forget_std", "retain_mean", "retain_std"}
    whole = json.loads((tmp_path / "coloured_seed_42_evaluation.json").read_text())
    assert whole == json.loads(json.dumps(evaluation.to_json()))
    assert whole["forgetting"]["1"]["prompt_dropped_only"] == reference["1"]
    assert (tmp_path / "coloured_seed_42_forgetting.png").read_bytes().startswith(b"\x89PNG")


def test_the_tables_say_what_needs_the_true_label_and_both_ways_of_counting(tiny_run, tmp_path):
    evaluation = evaluate_run(tiny_run.folder, EvalSettings(save_dir=tmp_path), QUIET)
    console = Console(record=True, width=200, quiet=False, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    evaluation.show(console)
    text = console.export_text()
    assert "diagnostic: needs the true label" in text
    assert "prompt dropped only" in text
    assert "row dropped" in text
    assert "3 of 3" in text


def test_parts_can_be_left_out(tiny_run, tmp_path):
    modes = evaluate_run(tiny_run.folder, EvalSettings(save_dir=tmp_path, forgetting=False, limit=5), QUIET)
    assert modes.inputs == 5
    assert modes.forgetting == ()
    assert evaluate_run(tiny_run.folder, EvalSettings(save_dir=tmp_path, modes=False), QUIET).modes == {}


def test_sizes_can_be_chosen(tiny_run, tmp_path):
    chosen = EvalSettings(save_dir=tmp_path, modes=False, sizes=(2,))
    assert [result.k for result in evaluate_run(tiny_run.folder, chosen, QUIET).forgetting] == [2]
    with pytest.raises(UsageError, match=r"cannot forget \[3\] of 3 classes"):
        evaluate_run(tiny_run.folder, replace(chosen, sizes=(1, 3)), QUIET)


def test_a_data_set_with_other_classes_is_refused(tiny_run, tmp_path):
    with pytest.raises(DataError, match="digits has classes"):
        evaluate_run(tiny_run.folder, replace(EvalSettings(save_dir=tmp_path), dataset="digits"), QUIET)
