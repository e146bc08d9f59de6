"""Comparing the exported graph with the module it came from, on real inputs, at several bank sizes.

Judged as a user would: by decisions first, by the largest difference of a logit second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pfedge_runtime.bank import Bank
from pfedge_runtime.engines import Engine
from pfedge_runtime.errors import PfedgeError

BATCH = 32


class ParityError(PfedgeError):
    """The exported graph does not compute what the module computes."""


@dataclass(frozen=True)
class BankParity:
    """One comparison.

    Attributes:
        bank: what bank it was made with, in words.
        rows: R.
        inputs: how many images or sounds.
        agreement: share of inputs on which both name the same class.
        largest_difference: largest absolute difference of a logit.
        worst_input: index of the input that has it.
        largest_logit: largest absolute logit.
    """

    bank: str
    rows: int
    inputs: int
    agreement: float
    largest_difference: float
    worst_input: int
    largest_logit: float


@dataclass(frozen=True)
class ParityReport:
    """All comparisons of one export, and the tolerance they were held to.

    Attributes:
        engine: what was compared with torch.
        tolerance: largest difference of a logit allowed.
        relative: whether that is in units of the largest logit (where it is above 1): a head that is solved, not
            trained, has logits of any size.
        banks: the comparisons.
    """

    engine: str
    tolerance: float
    banks: tuple[BankParity, ...]
    relative: bool = False

    @property
    def passed(self) -> bool:
        """Whether every decision agrees and no difference exceeds the tolerance."""
        return all(bank.agreement == 1 and bank.largest_difference <= self.allowed(bank) for bank in self.banks)

    def allowed(self, bank: BankParity) -> float:
        """Return the largest difference of a logit allowed in one comparison."""
        return self.tolerance * (max(1.0, bank.largest_logit) if self.relative else 1.0)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "engine": self.engine,
            "tolerance": self.tolerance,
            "relative": self.relative,
            "passed": self.passed,
            "banks": [asdict(bank) for bank in self.banks],
        }

    def require(self) -> None:
        """Fail unless passed.

        Raises:
            ParityError: naming the worst comparison.
        """
        if not self.passed:
            worst = max(self.banks, key=lambda bank: (1 - bank.agreement, bank.largest_difference))
            message = (
                f"parity failed with {worst.bank}: decisions agree on {worst.agreement:.1%} of {worst.inputs} inputs, "
                f"largest logit difference {worst.largest_difference:.2g} (allowed {self.allowed(worst):.0e}); "
                "nothing was exported"
            )
            raise ParityError(message)


def bank_sizes(bank: Bank) -> dict[str, Bank]:
    """Return the banks that are compared: all rows, half of them, one, and all but one."""
    ids = bank.class_ids
    banks = {"all rows": bank}
    if len(ids) > 1:
        banks[f"half the rows ({len(ids) // 2})"] = bank.select(ids[: len(ids) // 2])
        banks["one row"] = bank.select(ids[-1:])
        banks[f"all but class {ids[len(ids) // 2]}"] = bank.drop(ids[len(ids) // 2 : len(ids) // 2 + 1])
    return banks


def compare(
    module: nn.Module,
    engine: Engine,
    bank: Bank,
    inputs: NDArray[Any],
    *,
    name: str,
    tolerance: float,
    relative: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ParityReport:
    """Compare `module` with `engine` on inputs `[N, ...]` of the graph's size at every bank size.

    Args:
        module: the torch module that was exported.
        engine: what runs the exported graph.
        bank: the full bank.
        inputs: real images, or features of real sounds.
        name: what the engine is called in the report.
        tolerance: largest allowed difference of a logit.
        relative: whether that is in units of the largest logit.
        on_progress: called with how many inputs are compared, each with every bank, and of how many.
    """
    reports = []
    banks = bank_sizes(bank)
    done = 0
    for words, smaller in banks.items():
        both = []
        for start in range(0, len(inputs), BATCH):
            chunk = inputs[start : start + BATCH]
            both.append((torch_logits(module, chunk, smaller), engine.run(chunk, smaller).logits))
            done += len(chunk)
            on_progress(done, len(banks) * len(inputs))
        ours, theirs = (np.concatenate(logits) for logits in zip(*both, strict=True))
        difference = np.abs(ours - theirs).max(axis=1)
        reports.append(
            BankParity(
                bank=words,
                rows=len(smaller),
                inputs=len(inputs),
                agreement=float((ours.argmax(1) == theirs.argmax(1)).mean()),
                largest_difference=float(difference.max()),
                worst_input=int(difference.argmax()),
                largest_logit=float(np.abs(ours).max()),
            )
        )
    return ParityReport(name, tolerance, tuple(reports), relative)


@torch.no_grad()
def torch_logits(module: nn.Module, inputs: NDArray[Any], bank: Bank) -> NDArray[np.float32]:
    """Return the module's logits `[N, R]`, float32, on the CPU."""
    parts = [torch.from_numpy(np.array(part)) for part in bank.graph_inputs().values()]
    chunks = []
    for start in range(0, len(inputs), BATCH):
        outputs = module(torch.from_numpy(inputs[start : start + BATCH]), *parts)
        chunks.append((outputs if isinstance(outputs, torch.Tensor) else outputs[0]).numpy())
    return np.concatenate(chunks)
