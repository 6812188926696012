"""A node's key is made once, kept from others, and no other kind of key is taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from flwr.cli.supernode.register import try_load_public_key

from client.supernode.identity import load_node_key, load_or_create_node_key, public_line
from shared.errors import KeyStoreError


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_a_key_is_made_once_and_is_its_owners_only(tmp_path: Path) -> None:
    path = tmp_path / "state" / "node-key.pem"
    made = load_or_create_node_key(path)
    assert path.stat().st_mode & 0o077 == 0
    assert load_or_create_node_key(path).private_numbers() == made.private_numbers()


def test_flower_takes_the_public_line_for_registration(tmp_path: Path) -> None:
    key = load_or_create_node_key(tmp_path / "key")
    (tmp_path / "key.pub").write_bytes(public_line(key))
    registered = serialization.load_pem_public_key(try_load_public_key(tmp_path / "key.pub"))
    assert registered == key.public_key()


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    load_or_create_node_key(path)
    path.chmod(0o640)
    with pytest.raises(KeyStoreError, match="can be read by others"):
        load_node_key(path)


@pytest.mark.parametrize(
    "data", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"OPENSSH", b"\x00" * 100]
)
def test_something_else_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(KeyStoreError, match="cannot be used"):
        load_or_create_node_key(path)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(pem(ed25519.Ed25519PrivateKey.generate()))
    path.chmod(0o600)
    with pytest.raises(KeyStoreError, match="not of an elliptic curve"):
        load_node_key(path)


def test_a_pem_key_is_taken_too(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    path = tmp_path / "key"
    path.write_bytes(pem(key))
    path.chmod(0o600)
    assert load_node_key(path).private_numbers() == key.private_numbers()
