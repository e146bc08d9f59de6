from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pfedge.auditing.baselines import unlearning
from pfedge.auditing.baselines.unlearning import (
    StepSettings,
    ascend,
    dampen,
    dampen_enough,
    descend,
    fisher,
    relabel,
    saliency,
)
from pfedge.data import Split

CPU = torch.device("cpu")


def recipe(**changes):
    return StepSettings(**{"seed": 3, "device": CPU, "batch_size": 4, "lr": 0.05, **changes})


def blobs(count=60, classes=3):
    """Points in the plane around one centre per class, far from each other."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    angles = 2 * np.pi * labels / classes
    points = 3 * np.stack([np.cos(angles), np.sin(angles)], 1) + rng.normal(0, 0.3, (count, 2))
    return Split(labels, points.astype(np.float32).__getitem__)


def linear(classes=3):
    model = nn.Linear(2, classes)
    torch.manual_seed(0)
    nn.init.normal_(model.weight, std=0.1)
    nn.init.zeros_(model.bias)
    return model


@pytest.fixture
def trained():
    model = linear()
    descend(model, blobs(), recipe(), epochs=5)
    return model


@torch.no_grad()
def accuracy(model, split):
    inputs = torch.from_numpy(np.stack([split.item(i) for i in range(len(split))]))
    return float((model(inputs).argmax(1).numpy() == split.labels).mean())


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_descending_learns_and_tells_of_every_epoch():
    model, told = linear(), []
    descend(model, blobs(), recipe(on_epoch=lambda *line: told.append(line)), epochs=3)
    assert accuracy(model, blobs()) == 1
    assert [line[:2] for line in told] == [(1, 3), (2, 3), (3, 3)]
    assert told[-1][2] < told[0][2]


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    ends = []
    for seed in (1, 1, 2):
        model = linear()
        torch.manual_seed(len(ends))  # what the rest of the program draws must not matter
        descend(model, blobs(), recipe(seed=seed), epochs=1)
        ends.append(model.weight)
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


@pytest.mark.parametrize("way", ["descend", "ascend", "saliency", "fisher"])
def test_what_is_raised_before_a_step_ends_it(trained, way):
    def stop():
        raise KeyError

    ways = {
        "descend": lambda *arguments: descend(*arguments, epochs=1),
        "ascend": ascend,
        "saliency": saliency,
        "fisher": fisher,
    }
    before = weights(trained)
    with pytest.raises(KeyError):
        ways[way](trained, blobs(), recipe(before_step=stop))
    assert all(torch.equal(value, before[name]) for name, value in weights(trained).items())


def test_ascent_lowers_the_accuracy_of_the_class_and_stops(trained):
    theirs = blobs().only([1])
    assert accuracy(trained, theirs) == 1
    steps = ascend(trained, theirs, recipe())
    assert 0 < steps < unlearning.ASCENT_STEPS
    assert accuracy(trained, theirs) < 1 / 3
    assert ascend(trained, theirs, recipe()) == 0  # there is nothing left to climb for


def test_ascent_ends_even_where_it_gets_nowhere(trained):
    assert ascend(trained, blobs().only([1]), recipe(lr=0.0)) == unlearning.ASCENT_STEPS


def test_relabelling_moves_every_sample_of_the_class_and_no_other():
    split = blobs(900)
    hidden = relabel(split, 1, classes=3, seed=5)
    theirs = split.labels == 1
    assert np.array_equal(hidden.labels[~theirs], split.labels[~theirs])
    assert np.bincount(hidden.labels[theirs], minlength=3) == pytest.approx([150, 0, 150], abs=40)
    assert np.array_equal(hidden.labels, relabel(split, 1, classes=3, seed=5).labels)
    assert not np.array_equal(hidden.labels, relabel(split, 1, classes=3, seed=6).labels)
    assert np.array_equal(split.labels, blobs(900).labels)


class Deep(nn.Module):
    """Two layers, and one that nothing goes through."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.unused = nn.Linear(2, 16), nn.Linear(16, 3), nn.Linear(4, 4)

    def forward(self, inputs):
        return self.second(torch.tanh(self.first(inputs)))


def test_saliency_is_the_half_with_the_larger_gradient_over_all_the_data():
    model, theirs = Deep(), blobs(21).only([2])
    mask = saliency(model, theirs, recipe())
    inputs = torch.from_numpy(np.stack([theirs.item(i) for i in range(len(theirs))]))
    used = [*model.first.parameters(), *model.second.parameters()]
    loss = -F.cross_entropy(model(inputs), torch.from_numpy(theirs.labels))  # the sign that forgetting gives it
    gradients = torch.cat([gradient.abs().flatten() for gradient in torch.autograd.grad(loss, used)])
    flat = torch.cat([part.flatten() for part in mask[:4]])
    assert float(flat.float().mean()) == pytest.approx(0.5, abs=0.02)
    assert gradients[flat].min() >= gradients[~flat].max() - 1e-6
    assert not any(part.any() for part in mask[4:])


def test_training_under_a_mask_changes_what_it_covers_and_not_a_bit_else():
    model = Deep()
    mask = saliency(model, blobs().only([2]), recipe())
    before = weights(model)
    descend(model, relabel(blobs(), 2, classes=3, seed=0), recipe(), epochs=2, mask=mask)
    for (name, value), part in zip(model.named_parameters(), mask, strict=True):
        changed = value != before[name]
        assert torch.equal(changed, part), name


def direct_fisher(model, split, batch):
    """Mean over batches of the squared gradient of softmax regression, from its formula."""
    weight, bias = (value.detach().double().numpy() for value in model.parameters())
    order = np.random.default_rng((3, unlearning.FISHER)).permutation(len(split))
    squares = []
    for start in range(0, len(split) - batch + 1, batch):
        index = order[start : start + batch]
        points = np.stack([split.item(int(i)) for i in index]).astype(np.float64)
        scores = np.exp(points @ weight.T + bias)
        error = scores / scores.sum(1, keepdims=True) - np.eye(3)[split.labels[index]]
        squares.append(((error.T @ points / batch) ** 2, error.mean(0) ** 2))
    return [np.mean(part, axis=0) for part in zip(*squares, strict=True)]


@pytest.mark.parametrize("count", [12, 14])  # 14 leave half a batch over, which is not used
def test_fisher_is_the_mean_squared_gradient_of_whole_batches(count):
    model, split = linear(), blobs(count)
    for found, expected in zip(fisher(model, split, recipe()), direct_fisher(model, split, 4), strict=True):
        assert np.allclose(found.numpy(), expected, rtol=1e-4, atol=1e-9)


def test_fisher_reads_a_bounded_sample(monkeypatch):
    monkeypatch.setattr(unlearning, "SAMPLES", 10)
    steps = []
    fisher(linear(), blobs(60), recipe(before_step=lambda: steps.append(1)))
    assert len(steps) == 2


def test_dampening_is_the_formula(trained):
    split = blobs()
    of_class, of_all = fisher(trained, split.only([1]), recipe()), fisher(trained, split, recipe())
    expected = []
    for value, part, whole in zip(trained.parameters(), of_class, of_all, strict=True):
        before, forget, everything = (tensor.detach().double().numpy() for tensor in (value, part, whole))
        factor = np.minimum(0.5 * everything / forget, 1)
        expected.append(np.where(forget > 1.5 * everything, factor * before, before))
    before = weights(trained)
    share = dampen(trained, of_class, of_all, alpha=1.5, dampening=0.5)
    assert 0 < share < 1
    for value, wanted in zip(trained.parameters(), expected, strict=True):
        assert np.allclose(value.detach().numpy(), wanted, rtol=1e-5)
    changed = sum(int((value != before[name]).sum()) for name, value in trained.state_dict().items())
    assert changed == round(share * 9)


def test_a_weight_is_never_dampened_upwards(trained):
    ones = [torch.ones_like(value) for value in trained.parameters()]
    before = weights(trained)
    assert dampen(trained, [2 * part for part in ones], ones, alpha=1.0, dampening=5.0) == 1
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_no_more_is_dampened_than_makes_the_class_unknown():
    model = nn.Linear(2, 2, bias=False)
    nn.init.eye_(model.weight)
    theirs = Split(np.ones(10, dtype=np.int64), lambda _: np.array([1, 3], dtype=np.float32))
    of_all = [torch.ones(2, 2)]
    of_class = [torch.tensor([[15.0, 15.0], [30.0, 100.0]])]  # what names the class matters most
    assert dampen_enough(model, of_class, of_all, theirs, recipe()) == (80.0, 1 / 4)
    assert torch.allclose(model.weight, torch.tensor([[1, 0], [0, 0.01]]))


def test_dampening_goes_no_further_than_the_paper(trained):
    ones = [torch.ones_like(value) for value in trained.parameters()]
    before = weights(trained)
    assert dampen_enough(trained, ones, ones, blobs().only([1]), recipe()) == (10.0, 0.0)
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
