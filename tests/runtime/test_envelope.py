from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from pfedge_runtime.errors import SignatureError
from pfedge_runtime.signing import PrivateKey, read_unverified, sign_statement, verify_statement

KEY, STRANGER = (PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)) for seed in (0, 1))
SUBJECT = [{"name": "bank", "digest": {"sha256": "00"}}]
DATA = sign_statement(SUBJECT, "kind/v1", {"a": 1, "b": "ü"}, KEY)


def verify(data, *keys, kind="kind/v1"):
    return verify_statement(data, [key.public for key in keys], kind, source="it")[0]


def with_payload(payload, *, kind="application/vnd.in-toto+json"):
    """Return an envelope of any payload that KEY did sign."""
    message = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    signature = {"keyid": KEY.public.id, "sig": base64.b64encode(KEY.sign(message)).decode()}
    body = {"payload": base64.b64encode(payload).decode(), "payloadType": kind, "signatures": [signature]}
    return json.dumps(body).encode()


def test_a_statement_is_read_back():
    statement = verify(DATA, KEY)
    assert statement == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": SUBJECT,
        "predicateType": "kind/v1",
        "predicate": {"a": 1, "b": "ü"},
    }
    assert sign_statement(SUBJECT, "kind/v1", {"b": "ü", "a": 1}, KEY) == DATA


def test_the_envelope_is_that_of_the_standard():
    """DSSE signs its pre-authentication encoding."""
    assert json.loads(with_payload(base64.b64decode(json.loads(DATA)["payload"]))) == json.loads(DATA)


def test_only_a_key_that_signed_verifies():
    assert verify(DATA, STRANGER, KEY) == verify(DATA, KEY)
    for keys in ((STRANGER,), ()):
        with pytest.raises(SignatureError, match=f"not signed by a key given for it: signed by {KEY.public.id[:16]}"):
            verify(DATA, *keys)


def test_a_signature_under_another_keys_name_is_refused():
    envelope = json.loads(DATA)
    envelope["signatures"][0]["keyid"] = STRANGER.public.id
    for key in (KEY, STRANGER):
        with pytest.raises(SignatureError, match="not signed by a key given for it"):
            verify(json.dumps(envelope).encode(), key)


def test_a_strangers_signature_added_changes_nothing():
    envelope, other = json.loads(DATA), json.loads(sign_statement(SUBJECT, "kind/v1", {}, STRANGER))
    envelope["signatures"] += other["signatures"]
    data = json.dumps(envelope).encode()
    assert verify(data, KEY) == verify(DATA, KEY)
    with pytest.raises(SignatureError):
        verify(data, STRANGER)


def test_an_envelope_without_signatures_is_refused():
    with pytest.raises(SignatureError, match="signed by nobody"):
        verify(json.dumps({**json.loads(DATA), "signatures": []}).encode(), KEY)


@given(st.integers(0, len(DATA) - 1), st.integers(0, 255))
def test_no_changed_byte_changes_what_is_read(place, value):
    changed = bytearray(DATA)
    changed[place] = value
    try:
        statement = verify(bytes(changed), KEY)
    except SignatureError:
        return
    assert statement == verify(DATA, KEY)


def test_another_kind_of_statement_is_refused():
    with pytest.raises(SignatureError, match="it states 'kind/v1', not 'kind/v2'"):
        verify(DATA, KEY, kind="kind/v2")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            with_payload(b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"kind/v1"}', kind="other"),
            "in-toto",
        ),
        (with_payload(b'{"_type":"https://in-toto.io/Statement/v0","predicateType":"kind/v1"}'), "not an in-toto"),
        (with_payload(b"[]"), "not an in-toto statement"),
        (with_payload(b"no json"), "the payload of it is damaged"),
        (with_payload(b'{"_type":"https://in-toto.io/Statement/v1"}'), "it states None"),
    ],
)
def test_what_a_trusted_key_signed_otherwise_is_no_statement(data, words):
    with pytest.raises(SignatureError, match=words):
        verify(data, KEY)


@pytest.mark.parametrize(
    "change",
    [
        {"payload": 3},
        {"payload": "#"},
        {"payloadType": None},
        {"signatures": None},
        {"signatures": [{}]},
        {"signatures": [{"keyid": 3, "sig": ""}]},
        {"signatures": [{"keyid": KEY.public.id, "sig": "#"}]},
    ],
    ids=str,
)
def test_what_is_no_envelope_is_refused(change):
    data = json.dumps({**json.loads(DATA), **change}).encode()
    with pytest.raises(SignatureError):
        verify(data, KEY)


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b"\xff"])
def test_what_is_no_json_object_is_refused(data):
    for read in (lambda: verify(data, KEY), lambda: read_unverified(data, "kind/v1", source="it")):
        with pytest.raises(SignatureError, match=r"damaged|not a DSSE envelope"):
            read()


def test_who_claims_to_have_signed_can_be_read_without_a_key():
    statement, signers = read_unverified(DATA, "kind/v1", source="it")
    assert statement == verify(DATA, KEY)
    assert signers == (KEY.public.id,)
    with pytest.raises(SignatureError, match="it states"):
        read_unverified(DATA, "kind/v2", source="it")
