"""Signed statements: in-toto Statement v1 in a DSSE envelope.

    data = sign_statement(subject, "pfedge/forget/v1", predicate, key)
    statement, signer = verify_statement(data, key.public, "pfedge/forget/v1", source="receipt.json")

The formats: https://github.com/in-toto/attestation (spec v1), https://github.com/secure-systems-lab/dsse.
"""

from __future__ import annotations

from typing import Any

from pfedge_runtime.errors import SignatureError
from pfedge_runtime.files import canonical_json, parse_json, safe_reason
from pfedge_runtime.signing.keys import PrivateKey, PublicKey

STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD = "application/vnd.in-toto+json"


def sign_statement(
    subject: list[dict[str, Any]], predicate_type: str, predicate: dict[str, Any], key: PrivateKey
) -> bytes:
    """Return the envelope as canonical JSON; the same for the same input."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner, SSlibKey

    statement = {"_type": STATEMENT, "subject": subject, "predicateType": predicate_type, "predicate": predicate}
    public = SSlibKey.from_crypto(key.public.key, keyid=key.public.id)
    envelope = Envelope(canonical_json(statement), PAYLOAD, {})
    envelope.sign(CryptoSigner(key.key, public))
    return canonical_json(envelope.to_dict())


def verify_statement(
    data: bytes, keys: list[PublicKey], predicate_type: str, *, source: str
) -> tuple[dict[str, Any], str]:
    """Return the statement of an envelope that one of `keys` signed, and that key's id.

    Raises:
        SignatureError: it is no such envelope, none of the keys signed it, or it states something else.
    """
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    envelope = _read(data, source)
    trusted = [SSlibKey.from_crypto(key.key, keyid=key.id) for key in keys]
    try:
        (signer,) = envelope.verify(trusted, 1)
    except (VerificationError, ValueError) as error:
        signers = ", ".join(sorted(key_id[:16] for key_id in envelope.signatures)) or "nobody"
        known = ", ".join(key.id[:16] for key in keys) or "none"
        message = f"{source} is not signed by a key given for it: signed by {signers}, asked for {known}"
        raise SignatureError(message) from error
    return _statement(envelope.payload, envelope.payload_type, predicate_type, source), signer


def read_unverified(data: bytes, predicate_type: str, *, source: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the statement and the ids of the keys that claim to have signed it. Trust nothing of it.

    Raises:
        SignatureError: it is no such envelope.
    """
    envelope = _read(data, source)
    statement = _statement(envelope.payload, envelope.payload_type, predicate_type, source)
    return statement, tuple(envelope.signatures)


def _read(data: bytes, source: str) -> Any:  # noqa: ANN401 -- the library's Envelope, imported when needed
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import FormatError

    value = parse_json(data, source, SignatureError)
    try:
        envelope = Envelope.from_dict(value)
        if not all(isinstance(text, str) for text in (envelope.payload_type, *envelope.signatures)):
            raise TypeError(envelope.payload_type)
    except (KeyError, TypeError, ValueError, AttributeError, FormatError) as error:
        message = f"{source} is not a DSSE envelope: {safe_reason(error)}"
        raise SignatureError(message) from error
    return envelope


def _statement(payload: bytes, payload_type: str, predicate_type: str, source: str) -> dict[str, Any]:
    statement = parse_json(payload, f"the payload of {source}", SignatureError)
    if not isinstance(statement, dict) or payload_type != PAYLOAD or statement.get("_type") != STATEMENT:
        message = f"{source} is not an in-toto statement"
        raise SignatureError(message)
    if statement.get("predicateType") != predicate_type:
        message = f"{source} states {statement.get('predicateType')!r}, not {predicate_type!r}"
        raise SignatureError(message)
    return statement
