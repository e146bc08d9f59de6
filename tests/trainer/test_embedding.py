from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pfedge.backbone import Embedding, EmbeddingSpec, load_backbone
from pfedge_runtime.errors import UsageError


@pytest.fixture(scope="module")
def backbone(tiny_vit):
    return load_backbone(str(tiny_vit)).eval()


def images(count=3):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 14, 14, 3), dtype=np.uint8))


@torch.no_grad()
def test_it_is_cls_and_mean_token_after_the_blocks(backbone):
    embedding = Embedding(backbone, EmbeddingSpec(blocks=(1, 2), dim=0))
    tokens = backbone.embed(images())
    expected = []
    for block in backbone.blocks:
        tokens = block(tokens)
        expected += [F.layer_norm(part, (32,)) for part in (tokens[:, 0], tokens[:, 1:].mean(1))]
    assert torch.allclose(embedding(backbone.embed(images())), torch.cat(expected, 1), atol=1e-6)


@torch.no_grad()
def test_a_projection_is_orthonormal_and_drawn_from_its_seed(backbone):
    narrow = Embedding(backbone, EmbeddingSpec(blocks=(1, 2), dim=20))
    assert torch.allclose(narrow.projection.T @ narrow.projection, torch.eye(20), atol=1e-5)
    assert narrow.digest == Embedding(backbone, EmbeddingSpec(blocks=(2, 1), dim=20)).digest
    assert narrow.digest != Embedding(backbone, EmbeddingSpec(blocks=(1, 2), dim=20, seed=1)).digest
    whole = Embedding(backbone, EmbeddingSpec(blocks=(1, 2), dim=0))
    tokens = backbone.embed(images())
    assert torch.allclose(narrow(tokens), whole(tokens) @ narrow.projection, atol=1e-5)


@pytest.mark.parametrize(
    ("depth", "blocks"), [(12, (6, 8, 10, 12)), (4, (2, 4)), (2, (2,)), (1, (1,)), (24, (12, 14, 16, 18, 20, 22, 24))]
)
def test_blocks_are_every_second_one_from_the_middle(depth, blocks):
    assert EmbeddingSpec().resolve(depth, 64).blocks == blocks


@pytest.mark.parametrize(
    "spec", [EmbeddingSpec((0,)), EmbeddingSpec((3,)), EmbeddingSpec((1, 1)), EmbeddingSpec((1,), 65)]
)
def test_what_the_backbone_has_not_is_refused(spec):
    with pytest.raises(UsageError, match=r"cannot embed after|is more than the 64"):
        spec.resolve(2, 32)
