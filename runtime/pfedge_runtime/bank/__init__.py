"""The bank: all that a model learned, one removable row per class, and what follows from it.

What lies in a bundle is a `StoredBank`: rows that have keys (`RowKey`) and bytes, and can be left out. One whose rows
can be read is a `Bank`: it says what the graph takes, and which inputs its rows accept. There are three kinds:
`PromptBank` and `StatisticsBank`, and `SealedBank`, which holds rows of either, encrypted. What forgetting promises of
them is a `Guarantee`. Code outside of this room asks a bank or a guarantee, and never which one it is.

    bank = PromptBank.load(Path("bundle/bank.safetensors"))
    smaller = bank.drop({3})                                   # a new bank; `bank` is unchanged
    decisions = decide(smaller, logits)                        # who wins, how sure it is, whether to abstain

May import: `files`, `errors`.
"""

from pfedge_runtime.bank.codec import (
    Buffer,
    ZeroizedBytes,
    decode,
    encode,
    flat_bytes,
    read_zeroized,
    zeroized_copy,
    zeroized_empty,
)
from pfedge_runtime.bank.decision import decide, softmax
from pfedge_runtime.bank.discriminant import own_threshold
from pfedge_runtime.bank.guarantees import GUARANTEES, GraphSignature, Guarantee, guarantee
from pfedge_runtime.bank.prompt_bank import PromptBank
from pfedge_runtime.bank.protocol import Bank, StoredBank
from pfedge_runtime.bank.reading import bank_format, read_bank
from pfedge_runtime.bank.records import PROMPT_FORMAT
from pfedge_runtime.bank.rows import RowKey
from pfedge_runtime.bank.sealed_bank import KEY_BYTES, SEALED_FORMAT, SealedBank, seal
from pfedge_runtime.bank.statistics import RowStatistics, quantise, summarise
from pfedge_runtime.bank.statistics_bank import STATISTICS_FORMAT, StatisticsBank

__all__ = [
    "GUARANTEES",
    "KEY_BYTES",
    "PROMPT_FORMAT",
    "SEALED_FORMAT",
    "STATISTICS_FORMAT",
    "Bank",
    "Buffer",
    "GraphSignature",
    "Guarantee",
    "PromptBank",
    "RowKey",
    "RowStatistics",
    "SealedBank",
    "StatisticsBank",
    "StoredBank",
    "ZeroizedBytes",
    "bank_format",
    "decide",
    "decode",
    "encode",
    "flat_bytes",
    "guarantee",
    "own_threshold",
    "quantise",
    "read_bank",
    "read_zeroized",
    "seal",
    "softmax",
    "summarise",
    "zeroized_copy",
    "zeroized_empty",
]
