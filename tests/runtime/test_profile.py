from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedge_runtime.engines import Profile
from pfedge_runtime.errors import UsageError

INPUTS = {
    "images": {"dtype": "uint8", "shape": ["B", 28, 28, 3]},
    "prompts": {"dtype": "float32", "shape": ["R", 2, 64]},
    "head_weight": {"dtype": "float32", "shape": ["R", 64]},
}


@given(st.integers(1, 64), st.integers(1, 100), st.integers(1, 100))
def test_every_bank_that_forgetting_leaves_is_inside(batch, rows, left):
    profile = Profile.of(INPUTS, max_batch=batch, max_rows=rows)
    shapes = {"images": (batch, 28, 28, 3), "prompts": (left, 2, 64), "head_weight": (left, 64)}
    profile.require("images", shapes["images"])
    for name in ("prompts", "head_weight"):
        if left <= rows:
            profile.require(name, shapes[name])
        else:
            with pytest.raises(UsageError, match=f"{name} of shape .* is outside"):
                profile.require(name, shapes[name])


@pytest.mark.parametrize("shape", [(0, 28, 28, 3), (1, 28, 28), (1, 29, 28, 3)])
def test_other_shapes_are_outside(shape):
    with pytest.raises(UsageError, match="outside"):
        Profile.of(INPUTS, max_batch=4, max_rows=3).require("images", shape)


def test_limits_below_one_are_refused():
    with pytest.raises(UsageError, match="at least one input and one row"):
        Profile.of(INPUTS, max_batch=0, max_rows=3)
