"""The range of shapes that an engine is built for.

    profile = Profile.of(manifest.inputs, max_batch=32, max_rows=8)
    profile.largest["head_weight"]      # (8, 384)

Rows go from 1 to all that were exported: whatever is forgotten, the shapes stay inside, and nothing is built again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pfedge_runtime.errors import UsageError

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Profile:
    """Shapes of every graph input.

    Attributes:
        smallest: one input, one row.
        usual: what an engine is tuned for: one input, all rows.
        largest: `max_batch` inputs, all rows.
    """

    smallest: Shapes
    usual: Shapes
    largest: Shapes

    @classmethod
    def of(cls, inputs: dict[str, dict[str, Any]], *, max_batch: int, max_rows: int) -> Profile:
        """Return the profile of graph inputs as a manifest describes them.

        Raises:
            UsageError: a limit is below 1.
        """
        if max_batch < 1 or max_rows < 1:
            message = f"an engine needs room for at least one input and one row, got {max_batch} and {max_rows}"
            raise UsageError(message)

        def shapes(batch: int, rows: int) -> Shapes:
            sizes = {"B": batch, "P": rows, "R": rows}
            return {
                name: tuple(sizes[dim] if isinstance(dim, str) else dim for dim in value["shape"])
                for name, value in inputs.items()
            }

        return cls(shapes(1, 1), shapes(1, max_rows), shapes(max_batch, max_rows))

    def to_json(self) -> dict[str, dict[str, list[int]]]:
        """Return JSON values."""
        return {
            which: {name: list(shape) for name, shape in shapes.items()}
            for which, shapes in (("smallest", self.smallest), ("usual", self.usual), ("largest", self.largest))
        }

    def require(self, name: str, shape: tuple[int, ...]) -> None:
        """Check that an input's shape lies inside.

        Raises:
            UsageError: it does not.
        """
        low, high = self.smallest[name], self.largest[name]
        inside = len(shape) == len(low) and all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))
        if not inside:
            message = (
                f"{name} of shape {list(shape)} is outside what the engine was built for: {list(low)}..{list(high)}"
            )
            raise UsageError(message)
