"""What a frozen backbone offers besides its last CLS: CLS and mean token after several of its blocks.

    embedding = Embedding(backbone, EmbeddingSpec())
    embedding(tokens)       # embedded inputs [B, 1 + N, D] -> float32 [B, E]

Nothing in it is learned from private data: each vector is brought to zero mean and unit variance, and the whole goes
through a fixed random orthogonal projection whose seed the run remembers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfedge.backbone.backbone import Backbone
from pfedge.errors import BackboneError
from pfedge_runtime.errors import UsageError

DEFAULT_DIM = 768
EVERY = 2


@dataclass(frozen=True)
class EmbeddingSpec:
    """Which embedding.

    Attributes:
        blocks: after which blocks, counted from 1; empty is every second one from the middle (6, 8, 10, 12 of 12).
        dim: E; 0 keeps all that the blocks give.
        seed: of the projection.
    """

    blocks: tuple[int, ...] = ()
    dim: int = DEFAULT_DIM
    seed: int = 0

    def resolve(self, depth: int, width: int) -> EmbeddingSpec:
        """Return the same with blocks and dimension filled in for a backbone of `depth` blocks, `width` wide.

        Raises:
            UsageError: there is no such block, or the dimension is larger than what the blocks give.
        """
        blocks = self.blocks or tuple(range(depth, depth // EVERY - 1, -EVERY))[::-1]
        if not all(1 <= block <= depth for block in blocks) or len(set(blocks)) < len(blocks):
            message = f"cannot embed after blocks {list(blocks)}: the backbone has blocks 1 to {depth}"
            raise UsageError(message)
        whole = 2 * width * len(blocks)
        if self.dim > whole and self.dim != DEFAULT_DIM:
            message = f"embedding dimension {self.dim} is more than the {whole} that blocks {list(blocks)} give"
            raise UsageError(message)
        return EmbeddingSpec(tuple(sorted(blocks)), min(self.dim or whole, whole), self.seed)


class Embedding(nn.Module):
    """The embedding of a backbone.

    Attributes:
        backbone: the frozen transformer.
        spec: which embedding, with nothing left open.
        projection: float32 `[2 * blocks * D, E]`, orthonormal columns; None where nothing is left out.
    """

    projection: Tensor | None

    def __init__(self, backbone: Backbone, spec: EmbeddingSpec) -> None:
        """Draw the projection.

        Raises:
            UsageError: the backbone has no such blocks or dimensions.
        """
        super().__init__()
        self.backbone = backbone
        self.spec = spec.resolve(len(backbone.blocks), backbone.width)
        whole = 2 * len(self.spec.blocks) * backbone.width
        drawn = None if self.spec.dim == whole else torch.from_numpy(_projection(whole, self.spec))
        self.register_buffer("projection", drawn, persistent=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the projection: it is drawn again on every load, and must be the one of training."""
        drawn = b"" if self.projection is None else self.projection.cpu().numpy().tobytes()
        return hashlib.sha256(drawn).hexdigest()

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the embedding float32 `[B, E]` of embedded inputs `[B, 1 + N, D]`."""
        parts = []
        for number, block in enumerate(self.backbone.blocks[: self.spec.blocks[-1]], start=1):
            tokens = block(tokens)
            if number in self.spec.blocks:
                parts.append(self.pool(tokens))
        return self.project(parts)

    def pool(self, tokens: Tensor) -> Tensor:
        """Return what one block gives: CLS and mean of the other tokens, each normalised, `[B, 2 D]`."""
        both = torch.stack([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1)
        return F.layer_norm(both.float(), both.shape[-1:]).flatten(1)

    def project(self, parts: list[Tensor]) -> Tensor:
        """Return the embedding `[B, E]` of what the blocks gave."""
        whole = torch.cat(parts, dim=1)
        return whole if self.projection is None else whole @ self.projection


def describe_embedding(embedding: Embedding) -> dict[str, Any]:
    """Return what a run must remember of an embedding."""
    spec = embedding.spec
    return {"blocks": list(spec.blocks), "dim": spec.dim, "seed": spec.seed, "projection": embedding.digest}


def load_embedding(backbone: Backbone, described: dict[str, Any]) -> Embedding:
    """Build the embedding that a run remembers.

    Raises:
        BackboneError: the projection drawn here is not the one of training.
    """
    spec = EmbeddingSpec(tuple(described["blocks"]), described["dim"], described["seed"])
    embedding = Embedding(backbone, spec)
    if embedding.digest != described["projection"]:
        message = "the projection drawn by this NumPy is not the one of training: use the versions the run was made by"
        raise BackboneError(message)
    return embedding


def _projection(whole: int, spec: EmbeddingSpec) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    gaussian = np.random.default_rng(spec.seed).normal(size=(whole, spec.dim))
    orthogonal, triangle = np.linalg.qr(gaussian)
    return (orthogonal * np.sign(np.diag(triangle))).astype(np.float32)  # one sign convention, whatever LAPACK does
