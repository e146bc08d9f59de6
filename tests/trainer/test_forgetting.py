from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pfedge.compute import choose_autocast
from pfedge.data import load_dataset
from pfedge.evaluation.forgetting import (
    ForgettingAtK,
    Subset,
    count_subset,
    evaluate_forgetting,
    forget_sets,
    forget_sizes,
)
from pfedge.guarantees import RowLabels, load_model
from pfedge.guarantees.shared import accuracy_by_mode, infer_best, predicted_classes
from pfedge.training import confusion_matrix

FP32 = choose_autocast("fp32", torch.device("cpu"))


@pytest.fixture(scope="module")
def parts(tiny_run, coloured_npz):
    model = load_model(tiny_run)
    return model, load_dataset(str(coloured_npz), image_size=14).test, RowLabels(model.class_ids)


def test_labels_map_to_positions():
    assert RowLabels([0, 2, 7]).positions(np.array([7, 0, 2, 7])).tolist() == [2, 0, 1, 2]


def test_accuracy_of_label_free_modes_equals_a_plain_count(parts):
    model, test, labels = parts
    accuracy = accuracy_by_mode(model, test, labels, seed=0, autocast=FP32, batch_size=7)
    known = test.only(model.class_ids)
    images = torch.from_numpy(known.batch(np.arange(len(known)), model.backbone.preprocess))
    target = labels.positions(known.labels)
    with torch.no_grad():
        tokens = model.backbone.embed(images)
        assert accuracy["none"] == pytest.approx((model.score(tokens, None).argmax(1) == target).float().mean().item())
        best = infer_best(model, tokens)
        each = torch.stack([model.score(tokens, torch.full((len(tokens), 1), p)) for p in range(3)])
        assert torch.equal(best, each.max(0).values)
        assert accuracy["infer_best"] == pytest.approx((best.argmax(1) == target).float().mean().item())
    assert set(accuracy) == {
        "full_bank_shuffle",
        "match_only",
        "mixed_subset",
        "all_wrong",
        "wrong_subset",
        "random_wrong",
        "none",
        "infer_best",
    }


def test_no_autocast_is_left_on(parts):
    model, test, labels = parts
    bf16 = choose_autocast("bf16", torch.device("cpu"))
    accuracy_by_mode(model, test.sample(4), labels, seed=0, autocast=bf16)
    assert not torch.is_autocast_enabled("cpu")
    evaluate_forgetting(model, test.sample(4), labels, autocast=bf16)
    assert not torch.is_autocast_enabled("cpu")


def test_docstring_examples():
    import doctest

    from pfedge.evaluation import forgetting as evaluate
    from pfedge_runtime.bundle import manifest

    assert doctest.testmod(evaluate).failed == doctest.testmod(manifest).failed == 0


def test_the_confusion_matrix_counts_each_image_once(parts):
    model, test, _ = parts
    known = test.only(model.class_ids)
    predicted = predicted_classes(model, known, autocast=FP32)
    matrix = confusion_matrix(known.labels, predicted, classes=4)
    assert matrix.sum() == len(test.only(model.class_ids))
    assert matrix[2].sum() == matrix[:, 2].sum() == 0


def test_every_subset_is_evaluated_and_equals_a_pass_of_its_own(parts):
    model, test, labels = parts
    results = evaluate_forgetting(model, test, labels, autocast=FP32)
    assert [(result.k, len(result.subsets), result.possible) for result in results] == [(1, 3, 3), (2, 3, 3)]
    known = test.only(model.class_ids)
    images = torch.from_numpy(known.batch(np.arange(len(known)), model.backbone.preprocess))
    for result in results:
        for subset in result.subsets:
            keep = [p for p, class_id in enumerate(model.class_ids) if class_id not in subset.forgotten]
            with torch.no_grad():
                logits = model(images, torch.tensor(keep).expand(len(known), -1)).numpy()
            named = np.array(model.class_ids)[logits.argmax(1)]
            gone = np.isin(known.labels, subset.forgotten)
            assert subset.forget_prompt == pytest.approx((named == known.labels)[gone].mean())
            assert subset.retain_prompt == pytest.approx((named == known.labels)[~gone].mean())
            by_row = np.array(model.class_ids)[keep][logits[:, keep].argmax(1)]
            assert subset.retain_row == pytest.approx((by_row == known.labels)[~gone].mean())


@given(st.integers(2, 6), st.integers(0, 1000))
def test_a_dropped_row_is_never_answered_and_never_hurts_the_others(rows, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(30, rows)).astype(np.float32)
    target = rng.integers(0, rows, 30)
    keep = list(range(1, rows))
    subset = count_subset(logits, target, keep, (0,))
    assert subset.retain_row >= subset.retain_prompt
    assert 0 <= subset.own_probability <= 1


def test_means_and_standard_deviations_are_those_of_the_reference():
    subsets = tuple(
        Subset((i,), forget, retain, retain, 0.1) for i, (forget, retain) in enumerate([(0.0, 0.9), (0.4, 0.7)])
    )
    result = ForgettingAtK(1, 2, subsets)
    assert result.reference_layout() == pytest.approx(
        {"forget_mean": 0.2, "forget_std": 0.2, "retain_mean": 0.8, "retain_std": 0.1}
    )
    assert result.worst().forgotten == (1,)
    assert result.row_dropped()["forget_mean"] == 0


@given(st.integers(1, 40))
def test_sizes_leave_at_least_one_row(rows):
    assert all(1 <= k < rows for k in forget_sizes(rows))


def test_all_subsets_or_a_repeatable_sample():
    ids = list(range(12))
    assert forget_sets(ids, 2, limit=0, seed=0) == list(itertools.combinations(ids, 2))
    sample = forget_sets(ids, 6, limit=50, seed=0)
    assert len(set(sample)) == 50 < math.comb(12, 6)
    assert sample == forget_sets(ids, 6, limit=50, seed=0)
    assert all(len(set(chosen)) == 6 for chosen in sample)
