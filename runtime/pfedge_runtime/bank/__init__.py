"""The bank: all that a model learned, one removable row per class, and what follows from it.

    bank = PromptBank.load(Path("bundle/bank.safetensors"))
    smaller = bank.drop({3})                                   # a new bank; `bank` is unchanged
    decisions = decide(smaller, logits)                        # who wins, how sure it is, whether to abstain

May import: `files`, `errors`.
"""

from pfedge_runtime.bank.codec import (
    ZeroizedBytes,
    decode,
    encode,
    flat_bytes,
    read_zeroized,
    zeroized_copy,
    zeroized_empty,
)
from pfedge_runtime.bank.decision import Bank, decide, softmax
from pfedge_runtime.bank.discriminant import own_threshold
from pfedge_runtime.bank.prompt_bank import PromptBank
from pfedge_runtime.bank.records import PROMPT_FORMAT
from pfedge_runtime.bank.rows import RowKey
from pfedge_runtime.bank.sealed_bank import KEY_BYTES, SEALED_FORMAT, SealedBank, places_of, seal, without
from pfedge_runtime.bank.statistics import RowStatistics, quantise, summarise
from pfedge_runtime.bank.statistics_bank import STATISTICS_FORMAT, StatisticsBank

__all__ = [
    "KEY_BYTES",
    "PROMPT_FORMAT",
    "SEALED_FORMAT",
    "STATISTICS_FORMAT",
    "Bank",
    "PromptBank",
    "RowKey",
    "RowStatistics",
    "SealedBank",
    "StatisticsBank",
    "ZeroizedBytes",
    "decide",
    "decode",
    "encode",
    "flat_bytes",
    "own_threshold",
    "places_of",
    "quantise",
    "read_zeroized",
    "seal",
    "softmax",
    "summarise",
    "without",
    "zeroized_copy",
    "zeroized_empty",
]
