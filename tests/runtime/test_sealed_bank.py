from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from pfedge_runtime import Bundle, PromptBank, StatisticsBank, forget
from pfedge_runtime.bank import SEALED_FORMAT, RowKey, SealedBank, encode, seal
from pfedge_runtime.bank.sealed_bank import NONCE, _context
from pfedge_runtime.errors import BankError, LastRowError, SealError
from pfedge_runtime.files import canonical_json
from support.paths import GOLDEN

BANK = PromptBank.load(GOLDEN / "bundle" / "bank.safetensors")
SUMS = StatisticsBank.load(GOLDEN / "exact" / "bundle" / "bank.safetensors")
DIGESTS = BANK.row_digests()
SEALED, KEYS = seal(BANK)
THREE, FOUR = RowKey(3), RowKey(4)


def with_row(data, key=THREE):
    return SealedBank({**SEALED.rows, key: data}, SEALED.of)


def encoded(tensors, **about):
    return encode(tensors, canonical_json({"format": SEALED_FORMAT, "of": SEALED.of, **about}).decode())


@pytest.fixture(params=["", "isolated", "exact"])
def guarantee_path(request, tmp_path):
    """A private copy of the golden bundle of each guarantee."""
    return Path(shutil.copytree(GOLDEN / request.param / "bundle", tmp_path / "bundle"))


def test_what_is_sealed_opens_again(guarantee_path):
    bank = Bundle.open(guarantee_path).bank()
    sealed, keys = seal(bank)
    again = SealedBank.from_bytes(sealed.to_bytes(), source="b")
    assert again == sealed
    assert again.digest() == sealed.digest()
    opened = again.unsealed(keys, bank.row_digests())
    assert opened.to_bytes() == bank.to_bytes()
    assert (sealed.class_ids, len(sealed), sealed.row_keys) == (bank.class_ids, len(bank), bank.row_keys)


def test_no_content_of_a_row_can_be_read_in_a_sealed_bank(guarantee_path):
    bank = Bundle.open(guarantee_path).bank()
    data = bytes(seal(bank)[0].to_bytes())
    for key in bank.row_keys:
        for part in bank.row_bytes(key):
            assert bytes(part[:16]) not in data


def test_rows_kept_apart_by_source_are_sealed_apart():
    rows = {RowKey(key.class_id, source): row for key, row in SUMS.rows.items() for source in ("a", "b")}
    bank = StatisticsBank(rows, SUMS.scale_bits, SUMS.shrinkage)
    sealed, keys = seal(bank)
    assert sealed.sources == ("a", "b")
    assert len(sealed) == len(SUMS)
    assert sealed.unsealed(keys, bank.row_digests()).to_bytes() == bank.to_bytes()
    left = sealed.without(key for key in keys if key.source == "b")
    only_a = {row: key for row, key in keys.items() if row.source == "a"}
    assert left.unsealed(only_a, bank.row_digests()).sources == ("a",)


def test_every_row_and_every_sealing_has_a_key_and_nonce_of_its_own():
    again, others = seal(BANK)
    assert len({*KEYS.values(), *others.values()}) == 20
    assert len({row[:NONCE] for bank in (SEALED, again) for row in bank.rows.values()}) == 20


def test_another_rows_key_opens_nothing():
    swapped = {**KEYS, THREE: KEYS[FOUR], FOUR: KEYS[THREE]}
    with pytest.raises(SealError, match="row 3 does not open with this device's key"):
        SEALED.unsealed(swapped, DIGESTS)


@pytest.mark.parametrize("key", [b"", b"short", bytes(32)])
def test_a_key_that_is_none_of_it_opens_nothing(key):
    with pytest.raises(SealError, match="row 3 does not open"):
        SEALED.unsealed({**KEYS, THREE: key}, DIGESTS)


def test_a_missing_key_is_named():
    with pytest.raises(SealError, match="row 3 is sealed and this device has no key for it"):
        SEALED.unsealed({row: key for row, key in KEYS.items() if row != THREE}, DIGESTS)


def test_swapped_rows_are_refused_even_under_each_others_keys():
    swapped = SealedBank({**SEALED.rows, THREE: SEALED.rows[FOUR], FOUR: SEALED.rows[THREE]}, SEALED.of)
    keys = {**KEYS, THREE: KEYS[FOUR], FOUR: KEYS[THREE]}
    for digests in (DIGESTS, {**DIGESTS, THREE: DIGESTS[FOUR], FOUR: DIGESTS[THREE]}):
        with pytest.raises(SealError, match="row 3 does not open"):
            swapped.unsealed(keys, digests)


def test_a_row_of_another_content_than_the_manifest_says_is_refused():
    with pytest.raises(SealError, match="row 3 does not open"):
        SEALED.unsealed(KEYS, {**DIGESTS, THREE: DIGESTS[FOUR]})
    with pytest.raises(SealError, match="row 3 does not open"):
        SEALED.unsealed(KEYS, {row: digest for row, digest in DIGESTS.items() if row != THREE})


def test_a_row_sealed_under_another_rows_name_is_refused():
    nonce = bytes(NONCE)
    inside = bytes(BANK.select({4}).to_bytes())
    data = nonce + AESGCM(KEYS[THREE]).encrypt(nonce, inside, _context(THREE, DIGESTS[THREE]))
    with pytest.raises(SealError, match="the sealed row 3 holds another row"):
        with_row(data).unsealed(KEYS, DIGESTS)


def test_what_is_sealed_and_no_row_is_refused():
    nonce = bytes(NONCE)
    data = nonce + AESGCM(KEYS[THREE]).encrypt(nonce, b"no row", _context(THREE, DIGESTS[THREE]))
    with pytest.raises(BankError, match="the sealed row 3 is damaged"):
        with_row(data).unsealed(KEYS, DIGESTS)


def test_sealed_rows_of_different_models_are_not_joined():
    other = StatisticsBank(SUMS.keep([FOUR]).rows, SUMS.scale_bits, SUMS.shrinkage / 2)
    (one, keys), (two, more) = seal(SUMS.keep([THREE])), seal(other)
    with pytest.raises(BankError, match="sealed rows of different models"):
        SealedBank(one.rows | two.rows, one.of).unsealed(keys | more, SUMS.row_digests() | other.row_digests())


@given(place=st.integers(0, len(SEALED.rows[THREE]) - 1), change=st.integers(1, 255))
def test_a_changed_byte_of_a_sealed_row_is_refused(place, change):
    data = bytearray(SEALED.rows[THREE])
    data[place] ^= change
    with pytest.raises(SealError, match="row 3 does not open"):
        with_row(bytes(data)).unsealed(KEYS, DIGESTS)


@pytest.mark.parametrize("size", [0, NONCE - 1, NONCE, NONCE + 15, -1])
def test_a_sealed_row_cut_short_is_refused(size):
    with pytest.raises(SealError, match="row 3 does not open"):
        with_row(SEALED.rows[THREE][:size]).unsealed(KEYS, DIGESTS)


def test_a_row_goes_and_the_others_stay_as_they_were():
    left = SEALED.without([THREE])
    assert left.rows == {key: row for key, row in SEALED.rows.items() if key != THREE}
    keys = {row: key for row, key in KEYS.items() if row != THREE}
    assert left.unsealed(keys, DIGESTS).to_bytes() == BANK.drop({3}).to_bytes()
    with pytest.raises(LastRowError):
        SEALED.without(SEALED.row_keys)


@pytest.mark.parametrize("bank", [BANK, SUMS], ids=["rows", "sums"])
def test_a_row_goes_from_a_bank_that_is_not_sealed_too(bank):
    assert bank.without([THREE]).to_bytes() == bank.drop({3}).to_bytes()
    with pytest.raises(LastRowError):
        bank.without(bank.row_keys)


@pytest.mark.parametrize(
    "data",
    [
        bytes(BANK.to_bytes()),
        bytes(SEALED.to_bytes())[:-1],
        encoded({}),
        encoded({"rows.3.sealed": np.zeros(4, np.float32)}),
        encoded({"rows.3.sealed": np.zeros((2, 2), np.uint8)}),
        encoded({"rows.3.open": np.zeros(4, np.uint8)}),
        encoded({"columns.3.sealed": np.zeros(4, np.uint8)}),
        encoded({"rows.x.sealed": np.zeros(4, np.uint8)}),
        encoded({"rows.03.sealed": np.zeros(4, np.uint8)}),
        encoded({"rows.3.sealed": np.zeros(4, np.uint8)}, format="pfedge-sealed/2"),
        encoded({"rows.3.sealed": np.zeros(4, np.uint8)}, of=3),
        encoded({"rows.3.sealed": np.zeros(4, np.uint8)}, more=""),
        encode({"rows.3.sealed": np.zeros(4, np.uint8)}, "[]"),
        encode({"rows.3.sealed": np.zeros(4, np.uint8)}, "no json"),
    ],
)
def test_what_is_no_sealed_bank_is_refused(tmp_path, data):
    (tmp_path / "bank").write_bytes(data)
    with pytest.raises(BankError, match="bank"):
        SealedBank.load(tmp_path / "bank")


def test_the_digest_changes_with_every_row():
    assert SEALED.digest() != with_row(SEALED.rows[THREE] + b"x").digest()
    assert SEALED.digest() != SEALED.without([THREE]).digest()
    assert SEALED.digest() != dataclasses.replace(SEALED, of="other").digest()


def test_forgetting_a_sealed_row_needs_no_key_at_all(guarantee_path, seal_bundle):
    seal_bundle(guarantee_path)
    before = SealedBank.load(guarantee_path / "bank.safetensors")
    outcome = forget(guarantee_path, ["3"])
    after = SealedBank.load(guarantee_path / "bank.safetensors")
    assert after.rows == {key: row for key, row in before.rows.items() if key != THREE}
    assert (outcome.bank_before, outcome.bank_after) == (before.digest(), after.digest())
    assert 3 not in outcome.coverage
    assert before.rows[THREE] not in (guarantee_path / "bank.safetensors").read_bytes()
