from __future__ import annotations

import numpy as np
import pytest

from pfedge_export.parity import ParityError, bank_sizes, compare, torch_logits
from pfedge_runtime.engines import Outputs
from support.graph_toys import Toy, bank

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 10, 3), dtype=np.uint8)


class TorchEngine:
    """The module itself, with an error added to one logit of one image."""

    def __init__(self, module, image=0, error=0.0):
        self.module, self.image, self.error, self.seen = module, image, error, 0

    def run(self, images, rows):
        logits = torch_logits(self.module, images, rows).copy()
        if self.seen <= self.image < self.seen + len(images):
            logits[self.image - self.seen, 0] += self.error
        self.seen += len(images)
        return Outputs(logits)


def test_equal_engines_pass():
    toy = Toy()
    report = compare(toy, TorchEngine(toy), bank(), IMAGES, name="itself", tolerance=1e-4)
    assert report.passed
    report.require()
    assert [comparison.rows for comparison in report.banks] == [4, 2, 1, 3]
    assert all(comparison.inputs == 40 for comparison in report.banks)


def test_progress_counts_inputs_with_every_bank():
    toy, told = Toy(), []
    compare(
        toy, TorchEngine(toy), bank(), IMAGES, name="itself", tolerance=1e-4, on_progress=lambda *now: told.append(now)
    )
    assert told[:3] == [(32, 160), (40, 160), (72, 160)]
    assert told[-1] == (160, 160)


def test_one_wrong_logit_of_one_image_fails_and_is_named():
    toy = Toy()
    report = compare(toy, TorchEngine(toy, image=37, error=0.01), bank(), IMAGES, name="off", tolerance=1e-4)
    assert not report.passed
    assert report.banks[0].worst_input == 37
    assert report.banks[0].largest_difference == pytest.approx(0.01, abs=1e-4)
    with pytest.raises(ParityError, match=r"parity failed with all rows.*nothing was exported"):
        report.require()


def test_a_single_changed_decision_fails_whatever_the_tolerance():
    toy = Toy()
    wins = torch_logits(toy, IMAGES, bank())[3].argmax() == 0
    report = compare(
        toy, TorchEngine(toy, image=3, error=-1e3 if wins else 1e3), bank(), IMAGES, name="off", tolerance=1e6
    )
    assert report.banks[0].agreement < 1
    assert not report.passed


def test_a_bank_of_one_row_is_compared_too():
    assert list(bank_sizes(bank(rows=1))) == ["all rows"]
