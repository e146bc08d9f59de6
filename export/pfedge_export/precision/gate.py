"""Whether a graph of fewer bits still decides as the one in float32 does, on real validation inputs.

report = gate(reference, candidate, bank, validation, precision="int8", max_drop=0.005)
report.require()
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.bank import Bank
from pfedge_runtime.engines import Engine
from pfedge_runtime.errors import PfedgeError

MAX_DROP = 0.005
MIN_AGREEMENT = 0.99
BATCH = 32


class GateError(PfedgeError):
    """A graph of fewer bits decides otherwise too often."""


@dataclass(frozen=True)
class Validation:
    """Real inputs `[N, ...]` of the graph's size that were not trained on, and their class ids int64 `[N]`."""

    inputs: NDArray[Any]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class BankGate:
    """One comparison.

    Attributes:
        bank: what bank it was made with, in words.
        rows: R.
        inputs: how many.
        accuracy_fp32: on the inputs of classes that have a row.
        accuracy: likewise, of the graph of fewer bits.
        agreement: share of all inputs on which both name the same class.
        agreement_covered: likewise of the inputs of classes that have a row; reported, and nothing is held to it.
    """

    bank: str
    rows: int
    inputs: int
    accuracy_fp32: float
    accuracy: float
    agreement: float
    agreement_covered: float


@dataclass(frozen=True)
class GateReport:
    """All comparisons, and what they were held to.

    Attributes:
        precision: of the graph that was judged.
        max_drop: by how much accuracy may fall.
        min_agreement: on what share of the inputs decisions must agree.
        banks: the comparisons.
        quantization: under int8, see `to_int8`; empty under other precisions.
        float32_products: how many of the backbone's matrix products stay in float32, under int8.
        products: of how many; 0 under other precisions.
    """

    precision: str
    max_drop: float
    min_agreement: float
    banks: tuple[BankGate, ...]
    quantization: str = ""
    float32_products: int = 0
    products: int = 0

    @property
    def passed(self) -> bool:
        """Whether accuracy fell by no more than allowed and decisions agree often enough, under every bank."""
        return all(self._passes(bank) for bank in self.banks)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        int8 = {
            "quantization": self.quantization,
            "float32_products": self.float32_products,
            "products": self.products,
        }
        return {
            "precision": self.precision,
            "max_drop": self.max_drop,
            "min_agreement": self.min_agreement,
            "passed": self.passed,
            "banks": [asdict(bank) for bank in self.banks],
            **(int8 if self.quantization else {}),
        }

    def require(self) -> None:
        """Fail unless passed.

        Raises:
            GateError: naming the first comparison that failed.
        """
        for bank in self.banks:
            if not self._passes(bank):
                message = (
                    f"{self.precision} fails its gate with {bank.bank}: accuracy {bank.accuracy:.3f} against "
                    f"{bank.accuracy_fp32:.3f} (--max-drop {self.max_drop}), decisions agree on {bank.agreement:.1%} "
                    f"of {bank.inputs} inputs ({self.min_agreement:.0%} needed; on those of classes with a row "
                    f"{bank.agreement_covered:.1%}); nothing was exported"
                )
                raise GateError(message)

    def _passes(self, bank: BankGate) -> bool:
        enough = bank.agreement >= self.min_agreement
        return enough and bank.accuracy_fp32 - bank.accuracy <= self.max_drop + 1e-9


def gate(
    reference: Engine,
    candidate: Engine,
    bank: Bank,
    validation: Validation,
    *,
    precision: str,
    max_drop: float = MAX_DROP,
    min_agreement: float = MIN_AGREEMENT,
) -> GateReport:
    """Compare two engines under the full bank and under half of it.

    Raises:
        GateError: there is no validation input of any class that has a row.
    """
    ids = bank.class_ids
    banks = {"all rows": bank}
    if len(ids) > 1:
        banks[f"half the rows ({len(ids) // 2})"] = bank.select(ids[: len(ids) // 2])
    reports = []
    for words, smaller in banks.items():
        known = np.isin(validation.labels, smaller.class_ids)
        if not known.any():
            message = f"no validation input of any class with {words}: {precision} cannot be judged"
            raise GateError(message)
        ours, theirs = (_decisions(engine, smaller, validation.inputs) for engine in (reference, candidate))
        reports.append(
            BankGate(
                bank=words,
                rows=len(smaller),
                inputs=len(validation.inputs),
                accuracy_fp32=float((ours == validation.labels)[known].mean()),
                accuracy=float((theirs == validation.labels)[known].mean()),
                agreement=float((ours == theirs).mean()),
                agreement_covered=float((ours == theirs)[known].mean()),
            )
        )
    return GateReport(precision, max_drop, min_agreement, tuple(reports))


def _decisions(engine: Engine, bank: Bank, inputs: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class id that scores highest, for each input."""
    logits = [engine.run(inputs[start : start + BATCH], bank).logits for start in range(0, len(inputs), BATCH)]
    winners: NDArray[np.int64] = np.array(bank.class_ids)[np.concatenate(logits).argmax(axis=1)]
    return winners
