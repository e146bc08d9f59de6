from __future__ import annotations

import numpy as np
import pytest
import torch

from pfedge.backbone import load_backbone
from pfedge.guarantees.shared import PromptBankModel
from pfedge_runtime.bank import PromptBank


@pytest.fixture
def model(tiny_vit):
    torch.manual_seed(0)
    model = PromptBankModel(load_backbone(str(tiny_vit)), class_ids=[0, 2, 5], tokens_per_class=2).eval()
    with torch.no_grad():
        for _, parameter in model._lora_parameters():
            parameter.normal_(std=0.1)
    return model


def images(count=4):
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (count, 14, 14, 3), dtype=np.uint8))


def graph_logits(graph, batch, bank):
    with torch.no_grad():
        return graph(
            batch, *(torch.from_numpy(np.array(part)) for part in (bank.prompts, bank.head_weight, bank.head_bias))
        )


def test_only_rows_and_lora_are_trained(model):
    trained = {name.rpartition(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert all("lora" in name or name in {"", "head"} for name in trained), trained
    counted = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(model.trained_parameters().values()) == counted


def test_lora_is_on_query_and_value_with_the_papers_settings(model):
    assert len(model._lora_parameters()) == 2 * 2 * 2
    (_, first), *_ = model._lora_parameters()
    assert first.shape == (4, 32)
    module = next(module for _, module in model.backbone.attention_projections())
    assert module.scaling["default"] == 1.0
    assert module.lora_dropout["default"].p == 0.1


def test_logits_equal_an_independent_reading_of_the_method(model):
    """Prompts before CLS, blocks without the final LayerNorm, head on CLS; LoRA as W + B A."""
    rows = torch.tensor([[2, 0]] * 4)
    with torch.no_grad():
        actual = model(images(), rows)
        prompts = model.prompts[[2, 0]].reshape(1, 4, 32).expand(4, -1, -1)
        hidden = torch.cat([prompts, model.backbone.embed(images())], dim=1)
        state = model.trained_state()
        for name, module in model.backbone.attention_projections():
            module.base_layer.weight += state[f"lora.{name}.B"] @ state[f"lora.{name}.A"]
            module.lora_B["default"].weight.zero_()
        for block in model.backbone.blocks:
            hidden = block(hidden)
        expected = hidden[:, 4] @ model.head.weight.T + model.head.bias
    assert torch.allclose(actual, expected, atol=1e-5)


def test_a_different_set_of_rows_changes_the_logits(model):
    with torch.no_grad():
        outcomes = [model(images(), rows) for rows in (None, torch.tensor([[0]] * 4), torch.tensor([[0, 1, 2]] * 4))]
    assert (outcomes[0] - outcomes[1]).abs().max() > 1e-3
    assert (outcomes[1] - outcomes[2]).abs().max() > 1e-3


def test_trained_state_restores_the_model(model, tiny_vit):
    torch.manual_seed(99)
    other = PromptBankModel(load_backbone(str(tiny_vit)), class_ids=[0, 2, 5], tokens_per_class=2).eval()
    other.load_trained_state(model.trained_state())
    rows = torch.tensor([[0, 1, 2]] * 4)
    with torch.no_grad():
        assert torch.equal(model(images(), rows), other(images(), rows))


def test_trained_state_has_the_rows_of_the_bank(model):
    state = model.trained_state()
    for class_id, part in ((0, "prompts"), (5, "head_weight")):
        assert np.array_equal(state[f"rows.{class_id}.{part}"].numpy(), model.bank().row(class_id)[part])


def test_the_deployable_graph_computes_what_the_model_computes(model):
    bank = model.bank()
    with torch.no_grad():
        everything = model(images(), torch.tensor([[0, 1, 2]] * 4))
        without = model(images(), torch.tensor([[0, 2]] * 4))[:, [0, 2]]
    graph = model.deployable()
    assert not any("lora" in name for name in graph.state_dict())
    assert torch.allclose(graph_logits(graph, images(), bank), everything, atol=1e-5)
    assert torch.allclose(graph_logits(graph, images(), bank.drop({2})), without, atol=1e-5)


def test_the_graph_runs_without_any_prompt(model):
    bank = model.bank()
    with torch.no_grad():
        expected = model(images(), None)
    none = PromptBank(
        bank.class_ids, np.zeros((3, 0, 32), np.float32), bank.head_weight, bank.head_bias, bank.threshold
    )
    assert torch.allclose(graph_logits(model.deployable(), images(), none), expected, atol=1e-5)
