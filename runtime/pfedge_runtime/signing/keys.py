"""Ed25519 keys (RFC 8032): a device's own, a signer's of bundles, an authority's.

    key = PrivateKey.create(Path("signer.pem"))            # mode 0600, beside it signer.pub
    key.public.verify(key.sign(b"data"), b"data")

A key is named by its id: the SHA-256 of its public half's DER encoding (SubjectPublicKeyInfo).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pfedge_runtime.errors import KeyFileError, SignatureError, StorageError
from pfedge_runtime.files import read_file, write_atomic, write_secret


@dataclass(frozen=True)
class PublicKey:
    """The half that checks signatures."""

    key: Ed25519PublicKey

    @property
    def id(self) -> str:
        """SHA-256 of the DER encoding, hexadecimal."""
        der = self.key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()

    def verify(self, signature: bytes, data: bytes) -> None:
        """Check a signature.

        Raises:
            SignatureError: it is not this key's of this data.
        """
        try:
            self.key.verify(signature, data)
        except InvalidSignature as error:
            message = f"a signature is not that of key {self.id[:16]}"
            raise SignatureError(message) from error

    def to_pem(self) -> bytes:
        """Return the PEM encoding."""
        return self.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def from_pem(cls, data: bytes, *, source: str = "key") -> PublicKey:
        """Read a PEM encoding; `source` names it in errors.

        Raises:
            KeyFileError: it is not an Ed25519 public key.
        """
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            message = f"{source} is not a public key in PEM encoding"
            raise KeyFileError(message) from error
        if not isinstance(key, Ed25519PublicKey):
            message = f"{source} is a public key of another kind than Ed25519"
            raise KeyFileError(message)
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> PublicKey:
        """Read a key file.

        Raises:
            KeyFileError: it is missing, or no Ed25519 public key.
        """
        return cls.from_pem(read_file(path, KeyFileError), source=str(path))


@dataclass(frozen=True)
class PrivateKey:
    """The half that signs."""

    key: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        """The other half."""
        return PublicKey(self.key.public_key())

    def sign(self, data: bytes) -> bytes:
        """Return the signature, 64 bytes; the same for the same data."""
        return self.key.sign(data)

    @classmethod
    def create(cls, path: Path) -> PrivateKey:
        """Make a key and write it to `path`, readable by its owner only, and its public half to `path` with `.pub`.

        Raises:
            StorageError: a file is there already, or cannot be written.
            KeyFileError: `path` itself ends in `.pub`, or is a folder.
        """
        if not path.name or path.is_dir():
            message = f"{path} is a folder: give the private key a name, such as key.pem"
            raise KeyFileError(message)
        public = path.with_suffix(".pub")
        if public == path:
            message = f"{path} is the name of a public key: give the private one another suffix, such as .pem"
            raise KeyFileError(message)
        if public.exists():
            message = f"{public} exists: choose another name, or remove it first"
            raise StorageError(message)
        key = cls(Ed25519PrivateKey.generate())
        write_secret(
            path,
            key.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
        write_atomic(public, key.public.to_pem())
        return key

    @classmethod
    def load(cls, path: Path) -> PrivateKey:
        """Read a key file.

        Raises:
            KeyFileError: it is missing, no Ed25519 private key, or readable by others.
        """
        data = read_file(path, KeyFileError)
        if os.name != "nt" and path.stat().st_mode & 0o077:
            message = f"{path} is a private key that others may read: chmod 600 {path}"
            raise KeyFileError(message)
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            message = f"{path} is not a private key in PEM encoding without a password"
            raise KeyFileError(message) from error
        if not isinstance(key, Ed25519PrivateKey):
            message = f"{path} is a private key of another kind than Ed25519"
            raise KeyFileError(message)
        return cls(key)
