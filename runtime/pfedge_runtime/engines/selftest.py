"""The self-test that travels with a bundle: real inputs and the logits that torch gave for them.

    run_selftest(classifier)        # SelfTest(cases=9, skipped=2, largest_difference=3e-6)

A case whose rows are partly forgotten cannot be run any more and is skipped; each row alone is a case.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass

import numpy as np

from pfedge_runtime.bundle import SELFTEST, Bundle
from pfedge_runtime.engines.engine import Engine
from pfedge_runtime.errors import BundleError

TOLERANCE = 1e-3
# of the largest logit: a head that is solved, not trained, has logits of any size
RELATIVE = {"fp32": 1e-5, "fp16": 0.02, "bf16": 0.05, "int8": 0.05}


@dataclass(frozen=True)
class SelfTest:
    """The outcome: cases run, cases skipped, the largest absolute difference of a logit, and of one allowed."""

    cases: int
    skipped: int
    largest_difference: float
    allowed: float = TOLERANCE

    @property
    def passed(self) -> bool:
        """Whether at least one case ran and all agree: within 1e-3, or a share of the largest logit."""
        return self.cases > 0 and self.largest_difference <= self.allowed


def run_selftest(bundle: Bundle, engine: Engine, *, precision: str = "fp32") -> SelfTest:
    """Run every case that the rows still in the bank allow.

    Args:
        bundle: an opened bundle; the fewer bits its graph computes in, the more a logit may differ.
        engine: what runs it.
        precision: what that computes in where it is not the graph's own: `bf16`.

    Raises:
        BundleError: the self-test file is not what it should be.
    """
    bank = bundle.bank()
    cases, skipped, largest, allowed = 0, 0, 0.0, TOLERANCE
    relative = max(RELATIVE[bundle.manifest.precision], RELATIVE[precision])
    try:
        with np.load(bundle.path / SELFTEST, allow_pickle=False) as archive:
            inputs = archive[bundle.manifest.preprocess.input_name]
            for index in range(sum(name.endswith(".rows") for name in archive.files)):
                rows = archive[f"{index}.rows"].tolist()
                if not set(rows) <= set(bank.class_ids):
                    skipped += 1
                    continue
                expected = archive[f"{index}.logits"]
                difference = np.abs(engine.run(inputs, bank.select(rows)).logits - expected)
                allowed = max(allowed, relative * float(np.abs(expected).max()))
                largest = max(largest, float(difference.max()) if np.isfinite(difference).all() else np.inf)
                cases += 1
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        message = f"{bundle.path / SELFTEST} is damaged: {error}"
        raise BundleError(message) from error
    return SelfTest(cases, skipped, largest, allowed)
