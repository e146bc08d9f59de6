"""What forgetting promises: the runtime's half of each guarantee, in one registry.

Whatever depends on the guarantee of a bundle is asked here: the kind of its bank, the signature of its graph, how the
graph is compared with the module it came from, and what is said of a forget. No other code knows their names.

>>> promised = guarantee("isolated")
>>> promised.bank.__name__, promised.graph.rows["prompts"], sorted(promised.graph.outputs)
('PromptBank', 'R', ['embedding', 'logits'])
>>> promised.does_not_reach
'the class served as a negative example when the other rows were trained, and they stay as they are'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pfedge_runtime.bank.prompt_bank import PromptBank
from pfedge_runtime.bank.protocol import Bank
from pfedge_runtime.bank.statistics_bank import StatisticsBank
from pfedge_runtime.errors import UsageError

DOES = {"are": "are", "is now": "is now", "stay": "stay"}
WOULD = {"are": "would be", "is now": "would be", "stay": "would stay"}


@dataclass(frozen=True)
class GraphSignature:
    """What a graph takes beside its input, and what it gives.

    Attributes:
        rows: each input that the bank gives, in order -> its symbolic dimension: `R`, or `P` where it need not be R.
        outputs: each output, in order -> its symbolic dimensions.
    """

    rows: Mapping[str, str]
    outputs: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Guarantee:
    """What forgetting promises, and what follows from it wherever a bundle is made, opened or forgotten in.

    Attributes:
        name: as manifests, ledgers and receipts have it.
        bank: the kind of bank that a bundle has.
        graph: the signature of its graph.
        does_not_reach: what of a class stays when its row goes, beyond which nothing is promised; on receipts.
        outcome: what a forget did, in words, where `{are}`, `{is now}` and `{stay}` stand for what `DOES` or `WOULD`
            says; empty where that needs no word.
        outcome_sealed: likewise, where the rows are sealed.
        scores_stay: whether forgetting moves no score of a row that stays: nothing may then be computed from all rows.
        equal_bank: whether the bank is, byte for byte, the one of a model that was never given the class.
        tolerance: by how much a logit of the graph may differ from the module's, unless another is asked for.
        relative: whether that is in units of the largest logit: a head that is solved has logits of any size.
    """

    name: str
    bank: type[Bank]
    graph: GraphSignature
    does_not_reach: str
    outcome: str = ""
    outcome_sealed: str = ""
    scores_stay: bool = False
    equal_bank: bool = False
    tolerance: float = 1e-4
    relative: bool = False

    def describe_outcome(self, *, sealed: bool, dry_run: bool) -> str:
        """Say what a forget did, or in a dry run would do; nothing where that needs no word.

        >>> guarantee("shared").describe_outcome(sealed=False, dry_run=True)
        'the rows would be gone; weights that all classes share (LoRA) would stay as they are'
        """
        text = self.outcome_sealed if sealed else self.outcome
        return text.format_map(WOULD if dry_run else DOES)


LORA_STAYS = "the rows {are} gone; weights that all classes share (LoRA) {stay} as they are"

GUARANTEES = {
    one.name: one
    for one in (
        Guarantee(
            name="shared",
            bank=PromptBank,
            graph=GraphSignature(
                rows={"prompts": "P", "head_weight": "R", "head_bias": "R"}, outputs={"logits": ("B", "R")}
            ),
            does_not_reach="weights that all classes share (LoRA) were trained on this class too, and stay as they are",
            outcome=LORA_STAYS,
            outcome_sealed=LORA_STAYS,
        ),
        Guarantee(
            name="isolated",
            bank=PromptBank,
            graph=GraphSignature(
                rows={"prompts": "R", "head_weight": "R", "head_bias": "R"},
                outputs={"logits": ("B", "R"), "embedding": ("B",)},
            ),
            does_not_reach="the class served as a negative example when the other rows were trained, and they stay as "
            "they are",
            scores_stay=True,
        ),
        Guarantee(
            name="exact",
            bank=StatisticsBank,
            graph=GraphSignature(
                rows={"head_weight": "R", "head_bias": "R"}, outputs={"logits": ("B", "R"), "embedding": ("B",)}
            ),
            does_not_reach="nothing: the bank is the one that a model never given this class has",
            outcome="the bank {is now}, byte for byte, the one that was never given them",
            # a sealed row's bytes depend on a random nonce
            outcome_sealed="the rows left {are}, once decrypted, byte for byte those of the bank that was never given "
            "the others",
            equal_bank=True,
            tolerance=1e-5,
            relative=True,
        ),
    )
}
BANKS: dict[str, type[Bank]] = {one.bank.FORMAT: one.bank for one in GUARANTEES.values()}  # by their format


def guarantee(name: str) -> Guarantee:
    """Return the guarantee of that name.

    Raises:
        UsageError: there is none; the message names those that there are.
    """
    if name not in GUARANTEES:
        message = f"unknown guarantee {name!r}; this version knows {', '.join(GUARANTEES)}"
        raise UsageError(message)
    return GUARANTEES[name]
