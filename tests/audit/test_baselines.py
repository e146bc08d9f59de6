from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pfedge.auditing.baselines.baselines import (
    FINE_TUNING,
    GRADIENT_ASCENT,
    METHODS,
    NOTHING,
    RANDOM_LABELS,
    RETRAINING,
    SALUN,
    SSD,
    BaselineData,
    OrdinaryModel,
    baselines,
)
from pfedge.backbone import load_backbone
from pfedge.data import Split, load_dataset
from pfedge_runtime.errors import UnknownClassError, UsageError

CLASSES = (4, 0, 6)  # in no order
FORGOTTEN = 0


@pytest.fixture(scope="module")
def train():
    preprocess = load_backbone("builtin:micro").preprocess
    return load_dataset("digits", image_size=28).train.only(CLASSES).sample(300).prepared(preprocess)


@pytest.fixture(scope="module")
def data(train):
    return BaselineData(train, CLASSES, FORGOTTEN, "builtin:micro", image_size=28, seed=1)


@pytest.fixture(scope="module")
def outcomes(data):
    """What every method leaves, by name; each is kept while the next works."""
    return {outcome.method.name: outcome for outcome in baselines(data, epochs=2)}


def tiny(data, **changes):
    return replace(data, train=data.train.sample(40), **changes)


@torch.no_grad()
def accuracy(model, split, class_ids):
    split = split.only(class_ids)
    inputs = torch.from_numpy(split.batch(np.arange(len(split)), model.backbone.preprocess))
    predicted = np.array(model.class_ids)[model.logits(inputs).argmax(1).numpy()]
    return float((predicted == split.labels).mean())


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


@torch.no_grad()
def test_an_ordinary_model_reads_the_last_cls(data):
    model = OrdinaryModel(load_backbone("builtin:micro", image_size=28), CLASSES, seed=0)
    inputs = torch.from_numpy(data.train.batch(np.arange(5), model.backbone.preprocess))
    features = model.features(inputs)
    assert features.shape == (5, 192)
    assert torch.equal(features, model.backbone.encode(model.backbone.embed(inputs))[:, 0])
    assert model.logits(inputs).shape == (5, 3)
    assert torch.equal(model(inputs), model.logits(inputs))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_head_is_drawn_from_its_seed_alone():
    torch.manual_seed(0)
    first, second, other = (
        OrdinaryModel(load_backbone("builtin:micro"), CLASSES, seed=seed).head.weight for seed in (1, 1, 2)
    )
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(after, torch.rand(1))  # and nothing is drawn from torch's own generator


@pytest.mark.slow
def test_every_method_comes_once_and_the_ordinary_network_first(outcomes):
    assert list(outcomes) == [method.name for method in METHODS]
    assert next(iter(outcomes)) == "nothing forgotten"
    assert all(outcome.seconds > 0 for outcome in outcomes.values())
    assert all(method.source for method in METHODS)


@pytest.mark.slow
def test_the_ordinary_network_has_learnt_every_class(outcomes, train):
    model = outcomes["nothing forgotten"].model
    assert min(accuracy(model, train, [class_id]) for class_id in CLASSES) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("method", [RETRAINING, GRADIENT_ASCENT, RANDOM_LABELS, SALUN, SSD], ids=lambda m: m.name)
def test_a_method_makes_the_class_unknown_and_keeps_others(outcomes, train, method):
    model = outcomes[method.name].model
    assert accuracy(model, train, [FORGOTTEN]) < 0.5
    assert accuracy(model, train, [4, 6]) > 0.6


@pytest.mark.slow
def test_a_methods_network_is_its_own(outcomes):
    """Each began where the ordinary one stood: what came before left no trace in it."""
    trained = state(outcomes["nothing forgotten"].model)
    states = [state(outcome.model) for outcome in outcomes.values()]
    assert not any(same(first, second) for i, first in enumerate(states) for second in states[:i])
    head = "head.weight"
    for method in (FINE_TUNING, GRADIENT_ASCENT, RANDOM_LABELS, SALUN):  # they step from it, by steps of about 1e-4
        assert 0 < (outcomes[method.name].model.state_dict()[head] - trained[head]).abs().max() < 2e-3


@pytest.mark.slow
def test_salun_changes_half_of_the_weights(outcomes):
    trained, salun = state(outcomes["nothing forgotten"].model), state(outcomes["SalUn"].model)
    unused = "layernorm"  # the final one, which pfedge leaves out
    names = [name for name in trained if not name.startswith(f"backbone.vit.{unused}")]
    changed = sum(int((trained[name] != salun[name]).sum()) for name in names)
    assert changed / sum(trained[name].numel() for name in names) == pytest.approx(0.5, abs=0.01)


def test_a_caller_may_change_what_it_was_given(data):
    kept = {}
    for spoil in (False, True):
        for outcome in baselines(tiny(data), epochs=1, methods=(NOTHING, FINE_TUNING)):
            kept[spoil, outcome.method.name] = state(outcome.model)
            if spoil:
                torch.nn.init.zeros_(outcome.model.head.weight)
    assert same(kept[False, "fine-tuning"], kept[True, "fine-tuning"])


def test_the_same_seed_gives_the_same_weights(data):
    def ends(seed):
        few = tiny(data, seed=seed)
        return {outcome.method.name: state(outcome.model) for outcome in baselines(few, epochs=1)}

    first, second, other = ends(7), ends(7), ends(8)
    assert all(same(first[name], second[name]) for name in first)
    assert not same(first["nothing forgotten"], other["nothing forgotten"])


@pytest.mark.parametrize("method", [RETRAINING, FINE_TUNING], ids=lambda m: m.name)
def test_a_method_without_the_class_never_reads_its_data(data, method):
    few = tiny(data)
    learning = True

    def item(index):
        if few.train.labels[index] == FORGOTTEN and not learning:
            raise AssertionError(index)
        return few.train.item(index)

    seen = []
    for outcome in baselines(replace(few, train=Split(few.train.labels, item)), epochs=1, methods=(NOTHING, method)):
        learning = False  # the ordinary network has seen it
        seen.append(outcome.method)
    assert seen == [NOTHING, method]


def test_gradient_ascent_reads_no_other_class(data):
    few = tiny(data)
    learning = True

    def item(index):
        if few.train.labels[index] != FORGOTTEN and not learning:
            raise AssertionError(index)
        return few.train.item(index)

    for _ in baselines(replace(few, train=Split(few.train.labels, item)), epochs=1, methods=(NOTHING, GRADIENT_ASCENT)):
        learning = False


def test_retraining_alone_trains_once(data):
    lines = []
    (outcome,) = baselines(tiny(data), epochs=1, methods=(RETRAINING,), on_progress=lines.append)
    assert outcome.method is RETRAINING
    assert [line for line in lines if "epoch" in line] == [line for line in lines if "retraining: epoch 1/1" in line]


def test_classes_not_asked_for_are_not_read(data):
    few = tiny(data, class_ids=(0, 4))

    def item(index):
        assert few.train.labels[index] != 6
        return few.train.item(index)

    ordinary, *_ = baselines(replace(few, train=Split(few.train.labels, item)), epochs=1, methods=(NOTHING,))
    assert ordinary.model.class_ids == (0, 4)


def test_stopping_ends_without_what_is_unfinished(data):
    asked, seen = [], []
    for outcome in baselines(tiny(data), epochs=1, stop=lambda: bool(asked)):
        seen.append(outcome.method)
        asked.append(1)
    assert seen == [NOTHING]


def test_sounds_are_unlearnt_too(tiny_ast):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, 64, 16)).astype(np.float32)
    split = Split(np.arange(12) % 3, features.__getitem__)
    outcomes = list(baselines(BaselineData(split, (0, 1, 2), 1, str(tiny_ast)), epochs=1))
    assert len(outcomes) == len(METHODS)
    assert all(torch.isfinite(value).all() for value in state(outcomes[-1].model).values())


def test_a_class_that_is_not_there_is_refused_before_any_training(data):
    with pytest.raises(UnknownClassError, match="cannot forget class 9: the classes are 4, 0, 6"):
        baselines(replace(data, forgotten=9))


@pytest.mark.parametrize(("kept", "lacking"), [([4, 6], "class 0 has"), ([0], "the classes other than 0 have")])
def test_nothing_to_train_on_is_refused(data, kept, lacking):
    with pytest.raises(UsageError, match=f"{lacking} nothing to train on"):
        baselines(replace(data, train=data.train.only(kept)))
