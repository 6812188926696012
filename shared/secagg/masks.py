"""Keys between neighbours, masks out of seeds, and sealed letters that the server carries unread."""

from __future__ import annotations

from typing import Literal

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
_NONCE = bytes(16)  # a seed makes one mask only
_SEAL_NONCE = bytes(12)  # a key seals one letter only: it is of a session, a sender and an addressee

Words = NDArray[np.uint32]


def expand(seed: bytes, size: int) -> Words:
    """Make a mask: ``size`` uniform words from ChaCha20's key stream (RFC 8439, from block 0)."""
    encryptor = Cipher(ChaCha20(seed, _NONCE), mode=None).encryptor()
    return np.frombuffer(encryptor.update(bytes(4 * size)), dtype="<u4").astype(np.uint32, copy=False)


def public_bytes(private: bytes) -> bytes:
    """Return the X25519 public key (RFC 7748) of 32 private bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def agreed_seed(private: bytes, public: bytes, purpose: Literal["mask", "seal"], context: bytes) -> bytes:
    """Return 32 bytes that the two owners of the keys share: X25519, then HKDF-SHA256 (RFC 5869).

    Args:
        private: One side's.
        public: The other side's.
        purpose: Keeps masks and seals apart.
        context: The same on both sides: the session, and who is who.

    Raises:
        ValueError: The public key is none, or one that gives everybody the same secret.
    """
    secret = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    info = b"constellation/secagg/v1/" + purpose.encode() + b"\0" + context
    return HKDF(algorithm=SHA256(), length=SEED_BYTES, salt=None, info=info).derive(secret)


def seal(key: bytes, letter: bytes) -> bytes:
    """Encrypt and authenticate a letter (ChaCha20-Poly1305, RFC 8439) with a key that seals nothing else."""
    return ChaCha20Poly1305(key).encrypt(_SEAL_NONCE, letter, None)


def unseal(key: bytes, sealed: bytes) -> bytes:
    """Open a letter.

    Raises:
        cryptography.exceptions.InvalidTag: It is not from who shares the key, or was changed.
    """
    return ChaCha20Poly1305(key).decrypt(_SEAL_NONCE, sealed, None)
