from __future__ import annotations

import io

import pytest
from rich.console import Console

from pfedge.data import load_dataset
from pfedge.errors import DataError
from pfedge.evaluation import evaluate_bundle
from pfedge_runtime import Classifier, forget

QUIET = Console(quiet=True)


def test_forgetting_takes_a_class_out_of_the_accuracy_and_of_the_answers(bundle_path):
    digits = load_dataset("digits")
    classifier = Classifier.open(bundle_path, use_thresholds=False)
    before = evaluate_bundle(classifier, digits, QUIET)
    forget(bundle_path, ["3"])
    after = evaluate_bundle(classifier, digits, QUIET)
    assert [outcome.covered for outcome in after.outcomes] == [True] * 3 + [False] + [True] * 6
    assert before.outcomes[3].correct > 0
    assert after.outcomes[3].correct == 0
    assert all("3" not in outcome.answers for outcome in after.outcomes)
    assert sum(outcome.inputs for outcome in after.outcomes) == len(digits.test)
    covered = [outcome for outcome in after.outcomes if outcome.covered]
    assert after.accuracy == sum(o.correct for o in covered) / sum(o.inputs for o in covered)
    text = io.StringIO()
    after.show(Console(file=text, width=120))
    assert "no output" in text.getvalue()


def test_thresholds_abstain(bundle_path):
    outcome = evaluate_bundle(Classifier.open(bundle_path), load_dataset("digits"), QUIET, limit=100)
    assert sum(one.inputs for one in outcome.outcomes) == 100
    assert sum(one.abstained for one in outcome.outcomes) > 0
    assert all(one.abstained + sum(one.answers.values()) == one.inputs for one in outcome.outcomes)


def test_another_data_set_is_refused(bundle_path, coloured_npz, tones):
    classifier = Classifier.open(bundle_path)
    with pytest.raises(DataError, match="the bundle has others"):
        evaluate_bundle(classifier, load_dataset(str(coloured_npz)), QUIET)
    with pytest.raises(DataError, match="tones is audio data"):
        evaluate_bundle(classifier, load_dataset(str(tones)), QUIET)
