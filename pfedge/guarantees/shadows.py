"""Shadow models: the recipe trained on random halves of the pool, so that each input is in some and out of others.

    shadows = white_box.shadows(config, forgotten=3, count=8, seed=0, say=print)
    shadows.member[:, index], shadows.before[:, index]

They come in pairs whose halves complement each other (Carlini et al. 2022, arXiv 2112.03570), so that every input is
in exactly half of them. What a shadow says is kept, its rows are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge.data import Pool
from pfedge.guarantees.subject import Index

Say = Callable[[str], None]


@dataclass(frozen=True)
class Shadows:
    """What S shadow models say of N inputs.

    Attributes:
        class_ids: of the R rows, increasing.
        forgotten: the class that each has forgotten for `after`.
        member: bool `[S, N]`, what each was trained on.
        before: float32 `[S, N, R]`, logits with all rows.
        after: float32 `[S, N, R - 1]`, logits without the row of the class.
    """

    class_ids: tuple[int, ...]
    forgotten: int
    member: NDArray[np.bool_]
    before: NDArray[np.float32]
    after: NDArray[np.float32]

    def of(self, index: Index) -> Shadows:
        """Return what they say of some of the inputs."""
        return replace(self, member=self.member[:, index], before=self.before[:, index], after=self.after[:, index])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is worth keeping."""
        return {"member": self.member, "before": self.before, "after": self.after}


def memberships(pool: Pool, count: int, *, seed: int) -> NDArray[np.bool_]:
    """Return bool `[count, N]`: random halves of each class, each followed by its complement."""
    rng = np.random.default_rng(seed)
    member = np.zeros((count, len(pool)), dtype=np.bool_)
    for shadow in range(count):
        if shadow % 2:
            member[shadow] = ~member[shadow - 1]
            continue
        for class_id in np.unique(pool.labels):
            own = rng.permutation(np.flatnonzero(pool.labels == class_id))
            member[shadow, own[: len(own) // 2]] = True
    return member
