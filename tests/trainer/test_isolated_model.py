from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pfedge.backbone import EmbeddingSpec, load_backbone
from pfedge.guarantees.isolated import IsolatedModel


@pytest.fixture(scope="module")
def model(tiny_vit):
    torch.manual_seed(0)
    model = IsolatedModel(
        load_backbone(str(tiny_vit)), class_ids=(0, 2, 3, 7), tokens_per_class=2, spec=EmbeddingSpec((1, 2), dim=20)
    )
    torch.nn.init.normal_(model.head_bias)
    return model.eval()


def images(count=5):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 14, 14, 3), dtype=np.uint8))


@torch.no_grad()
def test_looking_then_scoring_is_one_pass(model):
    bank = model.bank()
    one_pass, _ = model.deployable()(images(), *map(torch.from_numpy, map(np.array, bank.graph_inputs().values())))
    assert torch.allclose(model.score(model.run_backbone(images())), one_pass, atol=1e-5)
    assert torch.equal(model.score(model.run_backbone(images())), model(images()))


@torch.no_grad()
def test_padding_changes_no_more_than_rounding(model):
    frozen = model.run_backbone(images())
    padded = model.eval().score(frozen)
    bare = model.train().score(frozen)
    model.eval()
    assert padded.shape == bare.shape == (5, 4)
    assert torch.allclose(padded, bare, atol=1e-5)


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(st.sets(st.integers(0, 3), min_size=1))
def test_no_retained_logit_moves_on_torch(model, keep):
    keep = sorted(keep)
    # not torch.equal: on some processors a product's last bit depends on where in the matrix a row stands
    assert torch.allclose(model(images())[:, keep], model(images(), keep), rtol=0, atol=1e-5)


@torch.no_grad()
@settings(max_examples=15, deadline=None)
@given(st.sets(st.sampled_from([0, 2, 3, 7]), min_size=1))
def test_no_retained_logit_moves_whatever_is_forgotten(model, keep):
    graph, bank = model.deployable(), model.bank()

    def logits(rows):
        return graph(images(), *(torch.from_numpy(np.array(part)) for part in rows.graph_inputs().values()))[0]

    columns = [position for position, class_id in enumerate(bank.class_ids) if class_id in keep]
    assert torch.allclose(logits(bank)[:, columns], logits(bank.select(keep)), atol=1e-5)


@torch.no_grad()
def test_junk_in_one_row_reaches_no_other(model):
    before = model(images())
    saved = model.prompts[1].clone()
    model.prompts[1] = 1e3
    after = model(images())
    model.prompts[1] = saved
    others = [0, 2, 3]
    assert torch.allclose(before[:, others], after[:, others], atol=1e-5)
    assert not torch.allclose(before[:, 1], after[:, 1], atol=1e-2)


def test_nothing_but_rows_is_trained(model):
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert names == {"prompts", "head_weight", "head_bias"}
    assert model.trained_parameters() == {"rows": 4 * (2 * 32 + 32 + 20 + 1), "shared": 0}
    frozen = model.run_backbone(images())
    assert not frozen.keys.requires_grad


def test_rows_survive_saving(model, tiny_vit):
    other = IsolatedModel(
        load_backbone(str(tiny_vit)), class_ids=(0, 2, 3, 7), tokens_per_class=2, spec=EmbeddingSpec((1, 2), dim=20)
    )
    other.load_trained_state(model.trained_state())
    assert other.bank().digest() == model.bank().digest()
    with pytest.raises(KeyError):
        other.load_trained_state({})
