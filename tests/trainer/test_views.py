from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedge.data import Split
from pfedge.data.views import crop, several_views
from pfedge.errors import DataError
from pfedge_runtime.inputs.audio import Sound


def pictures(count=3):
    images = np.random.default_rng(0).integers(0, 256, (count, 20, 30, 3), dtype=np.uint8)
    return Split(np.arange(count), images.__getitem__), images


def test_view_0_is_the_image_and_the_others_are_other_each_the_same_every_time():
    split, images = pictures()
    seen, again = several_views(split, 3, seed=1), several_views(split, 3, seed=1)
    assert seen.labels.tolist() == [0, 1, 2] * 3
    assert np.array_equal(seen.item(1), images[1])
    assert not np.array_equal(seen.item(4), seen.item(7))
    assert all(np.array_equal(seen.item(i), again.item(i)) for i in range(9))
    assert not np.array_equal(seen.item(4), several_views(split, 3, seed=2).item(4))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 1000))
def test_a_crop_is_a_large_part_of_its_image(height, width, seed):
    image = np.arange(height * width).astype(np.uint8).reshape(height, width, 1).repeat(3, axis=2)
    part = crop(image, np.random.default_rng(seed))
    assert 0.83 * height - 1 <= part.shape[0] <= height
    assert 0.83 * width - 1 <= part.shape[1] <= width
    assert set(part.reshape(-1)) <= set(image.reshape(-1))


def test_a_mirrored_crop_is_mirrored_left_to_right():
    image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1).repeat(3, axis=2)
    parts = [crop(image, np.random.default_rng(seed))[:, :, 0].astype(int) for seed in range(20)]
    steps = {int(part[0, 1] - part[0, 0]) for part in parts}
    assert steps == {1, -1}
    assert all(part[1, 0] > part[0, 0] for part in parts)


def test_sounds_have_no_views():
    sound = Split(np.zeros(1, dtype=np.int64), lambda _: Sound(np.zeros(10, dtype=np.float32), 16000))
    with pytest.raises(DataError, match="--views 1"):
        several_views(sound, 2, seed=0).item(1)
