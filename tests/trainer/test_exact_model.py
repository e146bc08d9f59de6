from __future__ import annotations

import numpy as np
import pytest
import torch

from pfedge.backbone import Embedding, EmbeddingSpec, describe_embedding, load_backbone, load_embedding
from pfedge.data import load_dataset
from pfedge.errors import BackboneError
from pfedge.guarantees.exact.model import EMBED_BATCH, embed_split


@pytest.fixture(scope="module")
def embedding(tiny_vit):
    return Embedding(load_backbone(str(tiny_vit)), EmbeddingSpec(dim=24)).eval()


def test_an_embedding_has_the_same_bits_wherever_its_input_stands(embedding, shaded_npz):
    test = load_dataset(str(shaded_npz)).test
    straight = np.concatenate([embedded for _, embedded in embed_split(embedding, test)])
    order = np.random.default_rng(0).permutation(len(test))
    mixed = type(test)(test.labels[order], lambda position: test.item(int(order[position])))
    shuffled = np.concatenate([embedded for _, embedded in embed_split(embedding, mixed)])
    assert np.array_equal(shuffled, straight[order])
    alone = test.where(np.arange(len(test)) == 7)
    assert np.array_equal(next(embed_split(embedding, alone))[1][0], straight[7])


@pytest.mark.slow
def test_a_real_embedding_has_the_same_bits_wherever_its_input_stands(shared_weights, shared_data):
    real = Embedding(load_backbone(str(shared_weights)), EmbeddingSpec()).eval()
    test = load_dataset(str(shared_data / "blood112")).test.sample(40)
    straight = np.concatenate([embedded for _, embedded in embed_split(real, test)])
    order = np.random.default_rng(0).permutation(len(test))
    mixed = type(test)(test.labels[order], lambda position: test.item(int(order[position])))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        shuffled = np.concatenate([embedded for _, embedded in embed_split(real, mixed)])
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(shuffled, straight[order])


def test_embedding_goes_on_from_where_it_stopped(embedding, shaded_npz):
    test = load_dataset(str(shaded_npz)).test
    whole = np.concatenate([embedded for _, embedded in embed_split(embedding, test)])
    rest = list(embed_split(embedding, test, start=EMBED_BATCH))
    assert rest[0][0] == EMBED_BATCH
    assert np.array_equal(np.concatenate([embedded for _, embedded in rest]), whole[EMBED_BATCH:])


def test_where_a_place_changes_the_last_bit_inputs_are_embedded_one_by_one(embedding, shaded_npz, monkeypatch):
    def rounded_by_place(tokens):
        embedded = honest(tokens)
        return embedded * (1 + torch.arange(len(embedded))[:, None] * 2.0**-23)

    test, honest = load_dataset(str(shaded_npz)).test, embedding.forward
    monkeypatch.setattr(embedding, "forward", rounded_by_place)
    straight = np.concatenate([embedded for _, embedded in embed_split(embedding, test)])
    order = np.random.default_rng(0).permutation(len(test))
    mixed = type(test)(test.labels[order], lambda position: test.item(int(order[position])))
    parts = list(embed_split(embedding, mixed))
    assert {len(embedded) for _, embedded in parts} == {1}
    assert np.array_equal(np.concatenate([embedded for _, embedded in parts]), straight[order])


def test_another_projection_is_noticed(embedding):
    described = describe_embedding(embedding)
    assert load_embedding(embedding.backbone, described).digest == embedding.digest
    with pytest.raises(BackboneError, match="not the one of training"):
        load_embedding(embedding.backbone, {**described, "seed": 5})
