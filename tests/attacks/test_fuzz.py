"""Attack: give every reader what no honest writer wrote, and see whether anything but a `PfedgeError` escapes.

Resisted: nothing does. `fuzz_readers.py` searches much longer, guided by coverage; what it found stands below.
"""

from __future__ import annotations

import base64
import json
import random

import numpy as np
import pytest
import safetensors.numpy

from attacks.fuzz_readers import (
    DEVICE,
    GOLDEN,
    HARNESSES,
    MODEL,
    mutated,
    small_ledger,
    small_prompts,
    small_statistics,
)
from pfedge_runtime.bank import PromptBank, RowKey, RowStatistics, StatisticsBank
from pfedge_runtime.bank import codec as tensors
from pfedge_runtime.errors import BankError, PfedgeError, SignatureError
from pfedge_runtime.receipts import Receipt

DEEP = "[" * 2000 + "]" * 2000
DEPTHS = (100, 900, 980, 5000)  # where one part of Python gives up depends on its version


@pytest.fixture
def modes(request, tmp_path):
    return HARNESSES[request.param](tmp_path).modes


def of(reader):
    return pytest.mark.parametrize("modes", [reader], indirect=True)


@pytest.mark.parametrize("reader", HARNESSES)
def test_nothing_but_a_pfedge_error_escapes(reader, tmp_path):
    harness = HARNESSES[reader](tmp_path)
    rng = random.Random(0)
    inputs = list(harness.seeds)
    for _ in range(1000):
        data = mutated(rng.choice(inputs), rng)
        if len(data) < 20_000 and rng.random() < 0.1:
            inputs.append(data)
        harness(data)


@pytest.mark.parametrize("reader", HARNESSES)
def test_every_mode_takes_what_is_genuine(reader, tmp_path):
    harness = HARNESSES[reader](tmp_path)
    taken = set()
    for seed in harness.seeds:
        try:
            harness.modes[seed[0]](seed[1:])
        except PfedgeError:
            continue
        taken.add(seed[0])
    assert taken == set(range(len(harness.modes)))


def header(entries, form='"pfedge-bank/1"'):
    """The document of a bank: its header, without data."""
    body = ",".join(f"{name}:{json.dumps(entry)}" for name, entry in entries.items())
    return f'{{"__metadata__":{{"format":{form}}},{body}}}'.encode()


def entry(shape, dtype="F32", offsets=(0, 0)):
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


PARTS = ("head_bias", "head_weight", "prompts", "threshold")


@pytest.mark.parametrize(
    "entries",
    [
        {f'"rows.{"9" * 5000}.{part}"': entry([0]) for part in PARTS},
        {'"rows.0.prompts"': entry([0, 2**64])},
        {f'"rows.0.{part}"': entry([0] * 64) for part in PARTS},
        {f'"rows.0.{part}"': entry([0, 2**62]) for part in PARTS},
        {'"rows.0.prompts"': entry([2**61], offsets=(0, 2**63))},
        {'"rows.0.prompts"': entry([2**70], offsets=(0, 2**72))},
    ],
    ids=["class id of 5000 digits", "size beyond C", "64 dimensions", "huge and empty", "huge", "beyond C"],
)
@of("bank")
def test_banks_with_absurd_headers_are_refused(modes, entries):
    with pytest.raises(BankError):
        modes[1](header(entries))


@pytest.mark.parametrize("change", [{"scale_bits": float("inf")}, {"shrinkage": 10**400}, {"scale_bits": 10**400}])
@of("statistics")
def test_statistics_with_absurd_settings_are_refused(modes, change):
    bank = small_statistics()
    form = json.dumps(bank.about() | change)
    with pytest.raises(BankError):
        modes[0](safetensors.numpy.save(bank.tensors(), metadata={"format": form}))


@pytest.mark.parametrize("modes", ["statistics", "sealed"], indirect=True)
def test_a_format_that_is_nested_deeply_is_refused(modes):
    with pytest.raises(BankError, match=r"is damaged: it is not JSON|is not a bank of format"):
        modes[0](safetensors.numpy.save({}, metadata={"format": DEEP}))


def test_a_source_that_has_no_encoding_is_refused():
    data = bytes(small_statistics().to_bytes()).replace(b"3@clinic.", b"3@\\ud800.")  # as long
    with pytest.raises(BankError, match="surrogates"):
        StatisticsBank.from_bytes(data)


@pytest.mark.parametrize("source", ['the "best" clinic', "back\\slash", "line\nbreak", "\x01", "\x7f", "ünlü"])
def test_a_source_of_any_text_is_written_as_the_library_does(source):
    bank = small_statistics()
    named = StatisticsBank(
        {RowKey(key.class_id, source): row for key, row in bank.rows.items()}, bank.scale_bits, bank.shrinkage
    )
    data = bytes(named.to_bytes())
    form = tensors.decode(data, "bank")[1]
    assert data == safetensors.numpy.save(named.tensors(), metadata={"format": form})
    assert StatisticsBank.from_bytes(data).digest() == named.digest()


def test_statistics_of_no_real_inputs_are_refused():
    row = RowStatistics(1, np.zeros(2, np.int64), np.array([3, 0, -1]), 0.0)
    bank = StatisticsBank({RowKey(0): row}, 0, 0.1)
    with pytest.raises(BankError, match="not those of real inputs"):
        bank.accepts(np.zeros(1, np.int64), np.zeros((1, 1), np.float32), np.ones((1, 2), np.float32))


def test_a_bank_larger_than_the_memory_is_refused(tmp_path, monkeypatch):
    def too_large(size):
        raise MemoryError

    (tmp_path / "bank.safetensors").write_bytes(small_prompts().to_bytes())
    monkeypatch.setattr(tensors, "ZeroizedBytes", too_large)
    with pytest.raises(BankError, match="larger than the memory"):
        PromptBank.load(tmp_path / "bank.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"model_id": "../../elsewhere"},
        {"dataset": []},
        {"opset": 1e300},
        {"precision": "fp7"},
        {"reach": {}},
        {"reach": {"rows": 0, "shared": 0}},
        {"inputs": {}},
        {"inputs": {"head_weight": {"dtype": "float32", "shape": {}}}},
        {"inputs": {"images": {"dtype": "uint8", "shape": ["Z", 14]}}},
        {"files": {}},
        {"files": {"a" * 300: {"sha256": "", "bytes": 1}}},
        {"classes": [{"id": False, "name": [], "row": None}]},
        {"classes": [{"id": 0, "name": "a", "row": 5}]},
        {"preprocess": {"kind": "image", "height": "a", "width": 14}},
        {"preprocess": {"kind": "image", "height": 14, "width": 14, "shorter_side": -1}},
        {"preprocess": {"kind": "audio", "frames": 64, "mels": 16, "mean": []}},
        {"preprocess": {"kind": "audio", "frames": 64.5, "mels": 16}},
    ],
    ids=str,
)
@of("manifest")
def test_manifests_that_hash_to_their_digest_and_misstate_a_field_are_refused(modes, change):
    genuine = json.loads((GOLDEN / "bundle" / "manifest.json").read_bytes())
    inputs = genuine["inputs"] | change["inputs"] if change.get("inputs") else change.get("inputs")
    with pytest.raises(PfedgeError):
        modes[1](json.dumps(genuine | change | ({} if inputs is None else {"inputs": inputs})).encode())


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("modes", "name"), [("manifest", "schema"), ("manifest", "parity")], indirect=["modes"])
def test_a_manifest_that_is_nested_deeply_is_refused(modes, name, depth):
    genuine = (GOLDEN / "bundle" / "manifest.json").read_text()
    with pytest.raises(PfedgeError):
        modes[0](genuine.replace(f'"{name}":', f'"{name}":{"[" * depth}{"]" * depth},"was":').encode())


@pytest.mark.parametrize("depth", DEPTHS)
@of("ledger")
def test_a_ledger_that_is_nested_deeply_is_refused(modes, depth):
    line = small_ledger().entries[1].line().replace(b'"about":{}', b'"about":' + b"[" * depth + b"]" * depth)
    with pytest.raises(PfedgeError):
        modes[0](line + b"\n")


def genuine_receipt():
    return json.loads(Receipt.of(small_ledger().entries[3]).sign(DEVICE))


@pytest.mark.parametrize("change", [{"payloadType": 1}, {"payloadType": []}, {"signatures": [{"keyid": 5, "sig": ""}]}])
@of("receipt")
def test_envelopes_whose_fields_are_no_text_are_refused(modes, change):
    with pytest.raises(SignatureError):
        modes[0](json.dumps(genuine_receipt() | change).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"device": {}},
        {"device": []},
        {"device": 5},
        {"engines": {"cpu": 5}},
        {"guarantee": {"name": 5}},
        {"rows": [{"class": 2**60, "name": "", "source": "", "digest": ""}]},
        {"rows": [{"class": 3, "name": "\ud800", "source": "", "digest": ""}]},
    ],
    ids=str,
)
@of("receipt")
def test_signed_receipts_that_misstate_a_field_are_refused(modes, change):
    statement = json.loads(base64.b64decode(genuine_receipt()["payload"]))
    statement["predicate"] |= change
    with pytest.raises(SignatureError):
        modes[1](json.dumps(statement).encode())


def test_an_unsigned_receipt_that_no_statement_can_repeat_is_refused():
    envelope = genuine_receipt()
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["predicate"]["rows"][0]["class"] = 2**60
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    with pytest.raises(SignatureError):
        Receipt.read_unverified(json.dumps(envelope).encode())


@of("keys")
def test_a_key_file_whose_row_has_no_encoding_is_refused(modes):
    value = {"schema": "pfedge-keys/1", "model_id": MODEL, "keys": {"3@\ud800": "00" * 32}}
    with pytest.raises(PfedgeError):
        modes[0](json.dumps(value).encode())
