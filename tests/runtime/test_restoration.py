from __future__ import annotations

import dataclasses
import shutil
from base64 import b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pfedge_runtime import Bundle, forget
from pfedge_runtime.device import DeviceState
from pfedge_runtime.errors import SignatureError, StateError, TombstoneError, UsageError
from pfedge_runtime.receipts import Receipt, authorize, restore, trust
from pfedge_runtime.receipts.receipt import PREDICATE
from pfedge_runtime.signing import PrivateKey, sign_statement

AUTHORITY, STRANGER = (PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)) for seed in (0, 1))


@pytest.fixture
def state():
    """A device that trusts the authority."""
    state = DeviceState.at()
    trust(state, AUTHORITY.public)
    return state


@pytest.fixture
def original(bundle_path, tmp_path):
    """A copy of the bundle with all rows."""
    return Path(shutil.copytree(bundle_path, tmp_path / "original"))


def forgotten(path, *classes, **keywords):
    """Forget classes and return the receipt."""
    return Receipt.read_unverified(Path(forget(path, classes, **keywords).receipt).read_bytes())


def refused(state, data, error, words, **keywords):
    """Check that a statement is refused and leaves the ledger as it was."""
    before = state.ledger_path.read_bytes()
    with pytest.raises(error, match=words):
        restore(state, data, source="it", **keywords)
    assert state.ledger_path.read_bytes() == before


def test_what_the_authority_allows_is_accepted_again(state, original, bundle_path):
    receipt = forgotten(bundle_path, "3")
    with pytest.raises(TombstoneError):
        Bundle.open(original)
    entry = restore(state, authorize(receipt, AUTHORITY), class_id=3)
    assert (entry.act, entry.request, entry.rows) == ("restore", receipt.request, receipt.rows)
    assert entry.about == {"authority": AUTHORITY.public.id}
    assert state.floor.read() == (entry.key, entry.sequence)
    state.ledger().verify()
    assert len(Bundle.open(original).bank()) == 10


def test_the_row_does_not_come_back_by_itself(state, bundle_path):
    restore(state, authorize(forgotten(bundle_path, "3"), AUTHORITY))
    assert 3 not in Bundle.open(bundle_path).bank().class_ids


def test_only_the_forget_it_names_is_undone(state, original, bundle_path):
    receipt = forgotten(bundle_path, "3")
    forget(bundle_path, ["5"])
    restore(state, authorize(receipt, AUTHORITY))
    with pytest.raises(TombstoneError, match="its row 5 was forgotten"):
        Bundle.open(original)


def test_a_device_without_authority_restores_nothing(bundle_path):
    receipt = forgotten(bundle_path, "3")
    refused(DeviceState.at(), authorize(receipt, AUTHORITY), StateError, "trusts no authority")


def test_another_authority_restores_nothing(state, bundle_path):
    receipt = forgotten(bundle_path, "3")
    refused(state, authorize(receipt, STRANGER), SignatureError, "it is not signed by a key given for it")
    with state.writing() as writer:
        own = authorize(receipt, writer.key)
    refused(state, own, SignatureError, "it is not signed by a key given for it")


def test_a_statement_for_another_device_restores_nothing(state, original, bundle_path, new_device):
    elsewhere = new_device()
    trust(elsewhere, AUTHORITY.public)
    forgotten(bundle_path, "3", request="case-1")
    receipt = forgotten(original, "3", request="case-1", state=elsewhere)
    refused(state, authorize(receipt, AUTHORITY), SignatureError, "it is for another device")
    restore(elsewhere, authorize(receipt, AUTHORITY))


def test_a_statement_serves_once(state, original, bundle_path):
    receipt = forgotten(bundle_path, "3")
    data = authorize(receipt, AUTHORITY)
    restore(state, data)
    refused(state, data, UsageError, f"it has served already: request {receipt.request} was undone")
    again = forgotten(original, "3")
    refused(state, data, UsageError, "it has served already")
    with pytest.raises(UsageError, match="stands in this device's ledger already"):
        forget(original, ["5"], request=receipt.request)
    restore(state, authorize(again, AUTHORITY))


def test_another_class_than_asked_for_is_not_restored(state, bundle_path):
    data = authorize(forgotten(bundle_path, "3"), AUTHORITY)
    refused(state, data, UsageError, r"it concerns class 3 \(3\), not class 5", class_id=5)


def test_a_statement_that_names_other_rows_restores_nothing(state, bundle_path):
    receipt = forgotten(bundle_path, "3", "5")
    fewer = authorize(dataclasses.replace(receipt, rows=receipt.rows[:1]), AUTHORITY)
    refused(state, fewer, SignatureError, f"it names other rows than request {receipt.request} forgot")


def test_a_statement_about_a_forget_that_never_was_restores_nothing(state, bundle_path):
    receipt = forgotten(bundle_path, "3")
    other = authorize(dataclasses.replace(receipt, request="never"), AUTHORITY)
    refused(state, other, SignatureError, "a forget that this device never did")


def test_a_receipt_is_no_statement(state, bundle_path):
    receipt = forgotten(bundle_path, "3")
    refused(state, receipt.sign(AUTHORITY), SignatureError, f"it states '{PREDICATE}'")


@pytest.mark.parametrize("predicate", [None, [], "x", {}])
def test_a_statement_that_says_nothing_restores_nothing(state, bundle_path, predicate):
    forgotten(bundle_path, "3")
    data = sign_statement([], "pfedge/restore/v1", predicate, AUTHORITY)
    refused(state, data, SignatureError, "it is for another device")


@pytest.mark.parametrize("data", [b"", b"{}", b64encode(b"statement")])
def test_what_is_no_statement_restores_nothing(state, bundle_path, data):
    forgotten(bundle_path, "3")
    refused(state, data, SignatureError, r"it is (damaged|not a DSSE envelope)")


def test_trust_is_said_once(state):
    with pytest.raises(StateError, match="has its authority already"):
        trust(state, STRANGER.public)
    trust(state, AUTHORITY.public)  # says nothing new, and writes nothing
    assert state.ledger().authority() == AUTHORITY.public
    assert [entry.act for entry in state.ledger().entries] == ["trust"]


def test_trust_comes_before_the_first_forget(bundle_path):
    forget(bundle_path, ["3"])
    with pytest.raises(StateError, match="has forgotten rows already"):
        trust(DeviceState.at(), AUTHORITY.public)
    assert DeviceState.at().ledger().authority() is None
