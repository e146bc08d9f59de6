"""The frozen pretrained transformer: loading it, its blocks taken apart, and the embedding that it offers.

    backbone = load_backbone("builtin:micro")
    tokens = backbone.encode(backbone.embed(images))        # uint8 [B, H, W, 3] -> float32 [B, 1 + N, D]

It may import `pfedge.errors` and what the runtime knows of inputs; it knows nothing of data sets.
"""

from pfedge.backbone.backbone import (
    DEFAULT_BACKBONES,
    Backbone,
    PixelNormalize,
    load_backbone,
    transformers4_name,
)
from pfedge.backbone.blocks import attend_one_way, one_way, take_apart
from pfedge.backbone.embedding import DEFAULT_DIM, Embedding, EmbeddingSpec, describe_embedding, load_embedding
from pfedge.backbone.preprocessor import plain_preprocessor

__all__ = [
    "DEFAULT_BACKBONES",
    "DEFAULT_DIM",
    "Backbone",
    "Embedding",
    "EmbeddingSpec",
    "PixelNormalize",
    "attend_one_way",
    "describe_embedding",
    "load_backbone",
    "load_embedding",
    "one_way",
    "plain_preprocessor",
    "take_apart",
    "transformers4_name",
]
