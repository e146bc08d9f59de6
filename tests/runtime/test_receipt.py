from __future__ import annotations

import dataclasses
import hashlib
import json
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given
from hypothesis import strategies as st

from pfedge_runtime import Bundle, forget
from pfedge_runtime.bank import GUARANTEES, RowKey, guarantee
from pfedge_runtime.device import DeviceState, Entry, RowId
from pfedge_runtime.errors import SignatureError
from pfedge_runtime.files import canonical_json, sha256_file
from pfedge_runtime.forgetting import recover
from pfedge_runtime.receipts import Receipt
from pfedge_runtime.receipts.receipt import PREDICATE
from pfedge_runtime.signing import PrivateKey, sign_statement

KEY, OTHER = (PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)) for seed in (0, 1))
ROW = RowId(RowKey(3, "clinic-7"), "monocyte", "d3")
ABOUT = {"bank_file": "f", "graph": "g", "audit": "a", "engine:trt-01234567": "e"}
DONE = Entry(
    sequence=2,
    time="2026-01-31T12:00:00Z",
    act="forgotten",
    request="r1",
    model_id="m",
    guarantee="isolated",
    rows=(ROW,),
    bank_before="b0",
    bank_after="b1",
    about=ABOUT,
).signed(KEY)
RECEIPT = Receipt.of(DONE)
DATA = RECEIPT.sign(KEY)
STATEMENT = json.loads(b64decode(json.loads(DATA)["payload"]))


def verify(data, *keys):
    return Receipt.verify(data, [key.public for key in keys], source="it")


def signed(predicate, *, subject=None, key=KEY):
    return sign_statement(STATEMENT["subject"] if subject is None else subject, PREDICATE, predicate, key)


def places(value, path=()):
    """Return the path of every leaf of a JSON value."""
    if isinstance(value, (dict, list)):
        steps = value if isinstance(value, dict) else range(len(value))
        return [place for step in steps for place in places(value[step], (*path, step))]
    return [path]


def test_it_says_what_the_ledger_says():
    receipt = verify(DATA, KEY)
    assert receipt == RECEIPT
    assert (receipt.request, receipt.rows, receipt.guarantee) == ("r1", (ROW,), "isolated")
    assert (receipt.bank_before, receipt.bank_after, receipt.bank_file) == ("b0", "b1", "f")
    assert (receipt.graph, receipt.engines, receipt.audit) == ("g", {"trt-01234567": "e"}, "a")
    assert (receipt.ledger_lines, receipt.ledger_head, receipt.device) == (2, DONE.digest(), KEY.public.id)


def test_it_names_the_bank_file_as_its_subject():
    assert STATEMENT["subject"] == [{"name": "bank.safetensors", "digest": {"sha256": "f"}}]
    assert STATEMENT["predicate"]["guarantee"] == {
        "name": "isolated",
        "does_not_reach": guarantee("isolated").does_not_reach,
    }


def test_a_real_forget_gives_one_that_fits_the_bundle_and_the_ledger(bundle_path):
    before = Bundle.open(bundle_path).bank().digest()
    outcome = forget(bundle_path, ["3", "7"], request="case-1")
    state, bundle = DeviceState.at(), Bundle.open(bundle_path)
    path = Path(outcome.receipt)
    assert path == state.receipts / "case-1.json"
    receipt = Receipt.verify(path.read_bytes(), [state.public_key()])
    assert {row.describe() for row in receipt.rows} == {"class 3 (3)", "class 7 (7)"}
    assert set(receipt.rows) == set(bundle.row_ids([RowKey(3), RowKey(7)]))
    assert (receipt.bank_before, receipt.bank_after) == (before, bundle.bank().digest())
    assert receipt.bank_file == sha256_file(bundle.bank_path)
    assert receipt.graph == sha256_file(bundle.graph_path)
    assert (receipt.ledger_lines, receipt.ledger_head) == (2, state.ledger().head)


def test_it_is_made_again_byte_for_byte(bundle_path):
    path = Path(forget(bundle_path, ["3"]).receipt)
    first = path.read_bytes()
    forget(bundle_path, ["5"])
    path.unlink()
    assert recover() == []
    assert path.read_bytes() == first


def test_another_devices_receipt_is_refused(bundle_path, new_device):
    elsewhere = new_device()
    with elsewhere.writing() as writer:
        stranger = writer.key.public
    data = Path(forget(bundle_path, ["3"]).receipt).read_bytes()
    with pytest.raises(SignatureError, match="not signed by a key given for it"):
        Receipt.verify(data, [stranger])


def test_a_device_cannot_speak_for_another():
    with pytest.raises(SignatureError, match=f"it speaks for another device .{KEY.public.id[:16]}"):
        verify(RECEIPT.sign(OTHER), OTHER)
    with pytest.raises(SignatureError, match="not signed by a key given for it"):
        verify(RECEIPT.sign(OTHER), KEY)


@given(st.sampled_from(places(STATEMENT)), st.text("abc0", max_size=3) | st.integers(0, 9) | st.none())
def test_an_edited_statement_is_refused(place, value):
    statement = json.loads(json.dumps(STATEMENT))
    *path, last = place
    target = statement
    for step in path:
        target = target[step]
    assume(target[last] != value)
    target[last] = value
    edited = {**json.loads(DATA), "payload": b64encode(canonical_json(statement)).decode()}
    with pytest.raises(SignatureError, match="not signed by a key given for it"):
        verify(canonical_json(edited), KEY)


def test_another_statement_of_the_same_device_is_none():
    data = sign_statement(STATEMENT["subject"], "pfedge/restore/v1", STATEMENT["predicate"], KEY)
    for read in (lambda: verify(data, KEY), lambda: Receipt.read_unverified(data, source="it")):
        with pytest.raises(SignatureError, match="it states 'pfedge/restore/v1', not 'pfedge/forget/v1'"):
            read()


NEEDED = [place for place in places(STATEMENT["predicate"]) if place[0] != "engines" and "does_not_reach" not in place]


@pytest.mark.parametrize("place", NEEDED, ids=str)
@pytest.mark.parametrize("how", ["missing", "of another type"])
def test_one_that_lacks_or_misstates_a_field_is_refused_though_it_is_signed(place, how):
    predicate = json.loads(json.dumps(STATEMENT["predicate"]))
    *path, last = place
    target = predicate
    for step in path:
        target = target[step]
    if how == "missing":
        del target[last]
    else:
        target[last] = ["x"]
    with pytest.raises(SignatureError, match=r"it lacks or misstates a field|speaks for another device"):
        verify(signed(predicate), KEY)


@pytest.mark.parametrize(
    "subject", [[], STATEMENT["subject"] * 2, [{}], [{"digest": {"sha256": 3}}], ["bank"]], ids=str
)
def test_one_with_another_subject_is_refused_though_it_is_signed(subject):
    with pytest.raises(SignatureError, match="it lacks or misstates a field"):
        verify(signed(STATEMENT["predicate"], subject=subject), KEY)


@pytest.mark.parametrize("value", [True, "2", 2.5, None])
def test_the_ledgers_length_is_a_number(value):
    predicate = {**STATEMENT["predicate"], "ledger": {"lines": value, "head": "h"}}
    with pytest.raises(SignatureError, match="it lacks or misstates a field"):
        verify(signed(predicate), KEY)


@pytest.mark.parametrize("engines", [{"a": 1}, "ab", [1]])
def test_engines_are_named_digests(engines):
    with pytest.raises(SignatureError, match="it lacks or misstates a field"):
        verify(signed({**STATEMENT["predicate"], "engines": engines}), KEY)


def test_it_says_in_words_what_was_verified_what_is_stated_and_what_is_not_proved():
    stated, verified = "\n".join(RECEIPT.stated()), "\n".join(RECEIPT.verified())
    for part in ("class 3 (monocyte) of clinic-7", "2026-01-31T12:00:00Z", "model m", "request r1", "2 lines"):
        assert part in stated
        assert part not in verified
    assert KEY.public.id[:16] in verified
    for one in GUARANTEES.values():
        assert one.does_not_reach in "\n".join(dataclasses.replace(RECEIPT, guarantee=one.name).not_proved())
    assert "does not reach: unknown" in "\n".join(dataclasses.replace(RECEIPT, guarantee="other").not_proved())


def test_that_it_still_holds_is_not_proved():
    assert "that it still holds" in RECEIPT.not_proved()[0]
    assert "holds" not in "\n".join([*RECEIPT.verified(), *RECEIPT.stated()])


def test_its_head_is_the_hash_of_the_ledgers_line(bundle_path, device_state):
    receipt = Receipt.verify(Path(forget(bundle_path, ["3"]).receipt).read_bytes(), [DeviceState.at().public_key()])
    line = (device_state / "ledger.jsonl").read_bytes().split(b"\n")[receipt.ledger_lines - 1]
    assert receipt.ledger_head == hashlib.sha256(line).hexdigest()


def test_a_device_cannot_speak_for_another_whose_key_is_known_too(bundle_path):
    one, two = (PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)) for seed in (1, 2))
    receipt = Receipt.read_unverified(Path(forget(bundle_path, ["3"]).receipt).read_bytes())
    forged = dataclasses.replace(receipt, device=one.public.id).sign(two)
    with pytest.raises(SignatureError, match="speaks for another device"):
        Receipt.verify(forged, [one.public, two.public])


def test_rows_stand_in_order(bundle_path):
    receipt = Receipt.read_unverified(Path(forget(bundle_path, ["7", "2", "1", "3"]).receipt).read_bytes())
    assert [row.class_id for row in receipt.rows] == [1, 2, 3, 7]
