"""Ed25519 keys, and signed statements in DSSE envelopes.

    envelope = sign_statement(statement, PrivateKey.load(Path("signer.pem")))
    statement = verify_statement(envelope, [PublicKey.load(Path("signer.pub"))])

May import: `files`, `errors`.
"""

from pfedge_runtime.signing.envelope import read_unverified, sign_statement, verify_statement
from pfedge_runtime.signing.keys import PrivateKey, PublicKey

__all__ = [
    "PrivateKey",
    "PublicKey",
    "read_unverified",
    "sign_statement",
    "verify_statement",
]
