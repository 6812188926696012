"""The key a node proves itself with to the SuperLink: an elliptic curve's, made on first start and kept.

It is not the key that signs updates (RSA, ``shared.crypto``): Flower wants one of a NIST curve here, and each HTTP call
is signed with it. P-256 where the stock SuperNode makes P-384: as strong as the TLS around it, and each call costs the
server a fifth of the time to verify.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.errors import KeyStoreError

_PRIVATE_BITS = 0o077  # that nobody but the owner may have


def load_or_create_node_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read the key in ``path``, or make one there, readable by its owner only.

    Raises:
        KeyStoreError: It cannot be read or made, or others can read it.
    """
    try:
        if path.exists():
            return load_node_key(path)
        key = ec.generate_private_key(ec.SECP256R1())
        encoded = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(encoded)
    except OSError as error:
        raise KeyStoreError(
            f"node key {path} cannot be made: {error.strerror or error}; name another folder"
        ) from error
    return key


def load_node_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a node's key: an OpenSSH or PEM file, as ``ssh-keygen -t ecdsa`` or this module makes them.

    Raises:
        KeyStoreError: It cannot be read, is no key of a NIST curve, or others can read it.
    """
    try:
        with path.open("rb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & _PRIVATE_BITS:
                raise KeyStoreError(f"node key {path} can be read by others; run: chmod 600 {path}")
            data = file.read(64 * 1024)
    except OSError as error:
        raise KeyStoreError(f"node key {path} cannot be read: {error.strerror or error}") from error
    load = serialization.load_ssh_private_key if b"OPENSSH" in data else serialization.load_pem_private_key
    try:
        key = load(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyStoreError(f"node key {path} cannot be used: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyStoreError(
            f"node key {path} is not of an elliptic curve; make one with: ssh-keygen -t ecdsa -f {path}"
        )
    return key


def public_line(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public part in OpenSSH's form, which ``flwr supernode register`` takes."""
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
