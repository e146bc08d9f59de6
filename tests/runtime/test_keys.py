from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from hypothesis import given
from hypothesis import strategies as st

from pfedge_runtime.errors import KeyFileError, SignatureError, StorageError
from pfedge_runtime.signing import PrivateKey, PublicKey

KEY = PrivateKey(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)))
PLAIN = serialization.NoEncryption()


def private_pem(key, encryption=PLAIN):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_signatures_are_those_of_the_standard():
    """RFC 8032, section 7.1, test 2."""
    secret = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    key = PrivateKey(ed25519.Ed25519PrivateKey.from_private_bytes(secret))
    assert key.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_a_key_is_named_by_its_public_half():
    raw = KEY.public.key.public_bytes_raw()
    der = bytes.fromhex("302a300506032b6570032100") + raw
    assert KEY.public.id == hashlib.sha256(der).hexdigest()


def test_a_key_is_made_for_its_owner_with_its_public_half_beside_it(tmp_path):
    key = PrivateKey.create(tmp_path / "signer.pem")
    assert stat.S_IMODE((tmp_path / "signer.pem").stat().st_mode) == 0o600
    assert PrivateKey.load(tmp_path / "signer.pem").public == key.public
    assert PublicKey.load(tmp_path / "signer.pub").id == key.public.id
    assert b"PRIVATE" not in (tmp_path / "signer.pub").read_bytes()


def test_no_key_is_made_twice(tmp_path):
    assert PrivateKey.create(tmp_path / "a.pem").public.id != PrivateKey.create(tmp_path / "b.pem").public.id


def test_a_key_that_is_there_is_kept(tmp_path):
    key = PrivateKey.create(tmp_path / "signer.pem")
    for again in ("signer.pem", "signer.key"):  # another private key would have the same public file
        with pytest.raises(StorageError, match=r"signer\.pub exists"):
            PrivateKey.create(tmp_path / again)
    assert PrivateKey.load(tmp_path / "signer.pem").public.id == key.public.id
    assert PublicKey.load(tmp_path / "signer.pub").id == key.public.id


@given(data=st.binary(max_size=40), other=st.binary(max_size=40), bit=st.integers(0, 511))
def test_a_signature_holds_for_its_data_and_key_only(data, other, bit):
    signature = KEY.sign(data)
    assert signature == KEY.sign(data)
    KEY.public.verify(signature, data)
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    stranger = PrivateKey(ed25519.Ed25519PrivateKey.from_private_bytes(b"\1" * 32))
    refused = [(KEY, flipped, data), (KEY, signature[:-1], data), (KEY, b"", data), (stranger, signature, data)]
    if other != data:
        refused.append((KEY, signature, other))
    for key, one, what in refused:
        with pytest.raises(SignatureError, match=f"not that of key {key.public.id[:16]}"):
            key.public.verify(bytes(one), what)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_private_key_that_others_may_read_is_refused(tmp_path, mode):
    PrivateKey.create(tmp_path / "signer.pem")
    (tmp_path / "signer.pem").chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        PrivateKey.load(tmp_path / "signer.pem")


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        (b"", "not a private key in PEM"),
        (b"\xff\0", "not a private key in PEM"),
        (KEY.public.to_pem(), "not a private key in PEM"),
        (private_pem(KEY.key)[:-40], "not a private key in PEM"),
        (private_pem(KEY.key, serialization.BestAvailableEncryption(b"word")), "without a password"),
        (private_pem(x25519.X25519PrivateKey.generate()), "of another kind than Ed25519"),
        (private_pem(ec.generate_private_key(ec.SECP256R1())), "of another kind than Ed25519"),
    ],
)
def test_another_private_key_file_is_refused(tmp_path, pem, words):
    path = tmp_path / "key"
    path.write_bytes(pem)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=words):
        PrivateKey.load(path)


@pytest.mark.parametrize(
    ("pem", "words"),
    [
        (b"", "k is not a public key"),
        (private_pem(KEY.key), "k is not a public key"),
        (KEY.public.to_pem()[:-30], "k is not a public key"),
        (
            ec.generate_private_key(ec.SECP256R1())
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
            "k is a public key of another kind",
        ),
    ],
)
def test_another_public_key_is_refused(pem, words):
    with pytest.raises(KeyFileError, match=words):
        PublicKey.from_pem(pem, source="k")


@pytest.mark.parametrize("half", [PrivateKey, PublicKey])
def test_a_missing_key_is_reported(tmp_path, half):
    with pytest.raises(KeyFileError, match="cannot read"):
        half.load(tmp_path / "missing")


def test_a_private_key_is_not_named_as_a_public_one(tmp_path):
    with pytest.raises(KeyFileError, match="is the name of a public key"):
        PrivateKey.create(tmp_path / "signer.pub")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", [".", "folder"])
def test_a_folder_is_no_name_for_a_key(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(KeyFileError, match="is a folder"):
        PrivateKey.create(Path(name))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
