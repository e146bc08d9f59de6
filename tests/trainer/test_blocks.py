from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

from pfedge.backbone import attend_one_way, load_backbone, one_way, take_apart

SHAPES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture(scope="module", params=["vit", "dinov2", "swiglu", "ast"])
def block_and_parts(request):
    """A block of each family with random weights."""
    torch.manual_seed(0)
    model = {
        "vit": lambda: transformers.ViTModel(transformers.ViTConfig(**SHAPES, intermediate_size=64)),
        "dinov2": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**SHAPES, layerscale_value=0.3)),
        "swiglu": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**SHAPES, use_swiglu_ffn=True)),
        "ast": lambda: transformers.ASTModel(transformers.ASTConfig(**SHAPES, intermediate_size=64)),
    }[request.param]().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    block = (model.layers if hasattr(model, "layers") else model.encoder.layer)[1]
    return block, take_apart(block, heads=4)


@torch.no_grad()
def test_an_input_alone_goes_through_as_through_the_block(block_and_parts):
    block, parts = block_and_parts
    tokens = torch.randn(3, 7, 32)
    expected = block(tokens)
    rows = torch.randn(3, 4, 32)
    together = one_way(parts, torch.cat([tokens, rows], 1), inner=7, size=2)
    assert torch.allclose(together[:, :7], expected, atol=1e-5)


@torch.no_grad()
def test_a_row_attends_to_the_input_and_to_itself_alone(block_and_parts):
    """The oracle: the block itself, on the sequence of the input and one row; of it only the row's tokens count."""
    block, parts = block_and_parts
    tokens, rows = torch.randn(2, 7, 32), torch.randn(2, 3, 2, 32)  # three rows of two tokens
    actual = one_way(parts, torch.cat([tokens, rows.flatten(1, 2)], 1), inner=7, size=2)[:, 7:].view(2, 3, 2, 32)
    for row in range(3):
        expected = block(torch.cat([tokens, rows[:, row]], 1))[:, 7:]
        assert torch.allclose(actual[:, row], expected, atol=1e-5)


@torch.no_grad()
def test_two_steps_are_one_pass(block_and_parts):
    _, parts = block_and_parts
    tokens, rows = torch.randn(2, 7, 32), torch.randn(2, 3, 2, 32)
    hidden = parts.norm1(tokens)
    keys, values = parts.split(parts.key(hidden)), parts.split(parts.value(hidden))
    one = one_way(parts, torch.cat([tokens, rows.flatten(1, 2)], 1), inner=7, size=2)[:, 7:]
    assert torch.allclose(attend_one_way(parts, rows, keys, values).flatten(1, 2), one, atol=1e-5)


@torch.no_grad()
def test_the_first_token_is_the_embedded_cls(tiny_vit, tiny_ast):
    for folder in (tiny_vit, tiny_ast):
        backbone = load_backbone(str(folder)).eval()
        shape, dtype = backbone.preprocess.shape, np.dtype(backbone.preprocess.dtype)
        inputs = torch.from_numpy((np.random.default_rng(0).random((2, *shape)) * 100).astype(dtype))
        assert torch.allclose(backbone.embed(inputs)[:, :1], backbone.first_token().expand(2, -1, -1), atol=1e-6)
