"""What goes over the wire between the stages, and the statement by which a client owns its public keys.

Stages: ``keys`` (each client sends two public keys, signed), ``shares`` (each checks its neighbours' keys, and seals
shares of its secrets for them), ``update`` (each trains and sends its masked change), and in the train phase ``unmask``
(those who are left give the shares that take the masks off the sum).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from shared.crypto.digest import encode_fields
from shared.errors import ProtocolError
from shared.secagg.masks import PUBLIC_KEY_BYTES, SEED_BYTES
from shared.secagg.shamir import SHARE_BYTES

RECORD = "secagg"  # the config record of every message, and a client's state between stages
MASKED = "masked"  # the array record of an update, and its one array
KEYS, SHARES, UPDATE, UNMASK = "keys", "shares", "update", "unmask"
KEYS_TAG = b"constellation/secagg/keys/v1\0"
MAX_CLIENTS = 4096  # in one list: what a message may make its receiver read

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKeys:
    """One client's keys of one round, with its signature under them."""

    node: int
    client_id: str
    key_id: str  # of the RSA key that signed
    seal_key: bytes
    mask_key: bytes
    signature: bytes

    def statement(self, session: str) -> bytes:
        """Return the bytes that are signed."""
        fields: dict[str, str | bytes] = {
            "session": session,
            "node": str(self.node),
            "client-id": self.client_id,
            "key-id": self.key_id,
            "seal-key": self.seal_key,
            "mask-key": self.mask_key,
        }
        return KEYS_TAG + encode_fields(fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretShares:
    """What one neighbour keeps for another: shares of the seed of its own mask, and of its private mask key."""

    self_mask: bytes
    mask_key: bytes

    def to_bytes(self) -> bytes:
        """Write both."""
        return self.self_mask + self.mask_key

    @classmethod
    def from_bytes(cls, data: bytes) -> SecretShares:
        """Read both.

        Raises:
            ProtocolError: It is not as long as two shares.
        """
        if len(data) != 2 * SHARE_BYTES:
            raise ProtocolError("a letter does not hold two shares")
        return cls(self_mask=data[:SHARE_BYTES], mask_key=data[SHARE_BYTES:])


def keys_to_record(keys: Sequence[PublicKeys]) -> dict[str, list[str] | list[bytes]]:
    """Write keys as the lists of a config record."""
    return {
        "nodes": [str(one.node) for one in keys],
        "client-ids": [one.client_id for one in keys],
        "key-ids": [one.key_id for one in keys],
        "seal-keys": [one.seal_key for one in keys],
        "mask-keys": [one.mask_key for one in keys],
        "signatures": [one.signature for one in keys],
    }


def keys_from_record(record: Mapping[str, object]) -> list[PublicKeys]:
    """Read what ``keys_to_record`` wrote.

    Raises:
        ProtocolError: It is not of that form.
    """
    columns = (
        nodes_of(record, "nodes"),
        list_of(record, "client-ids", str),
        list_of(record, "key-ids", str),
        list_of(record, "seal-keys", bytes),
        list_of(record, "mask-keys", bytes),
        list_of(record, "signatures", bytes),
    )
    if len({len(column) for column in columns}) != 1:
        raise ProtocolError("the lists of keys are not equally long")
    keys = [
        PublicKeys(node=node, client_id=client, key_id=key, seal_key=seal, mask_key=mask, signature=signature)
        for node, client, key, seal, mask, signature in zip(*columns, strict=True)
    ]
    if any(len(key) != PUBLIC_KEY_BYTES for one in keys for key in (one.seal_key, one.mask_key)):
        raise ProtocolError("a public key has another length than X25519's")
    return keys


def list_of(record: Mapping[str, object], name: str, kind: type[T]) -> list[T]:
    """Read a list of one type.

    Raises:
        ProtocolError: There is none, or it is too long.
    """
    values = record.get(name)
    if not isinstance(values, list) or len(values) > MAX_CLIENTS or not all(type(value) is kind for value in values):
        raise ProtocolError(f"{name} is not a list of at most {MAX_CLIENTS} {kind.__name__}")
    return list(values)


def nodes_of(record: Mapping[str, object], name: str) -> list[int]:
    """Read node ids, which are written as text: Flower's are uint64, its records hold sint64.

    Raises:
        ProtocolError: One is no number, or is there twice.
    """
    texts = list_of(record, name, str)
    are_numbers = all(text.isascii() and text.isdecimal() and len(text) <= 20 for text in texts)
    if not are_numbers or len(set(texts)) != len(texts):
        raise ProtocolError(f"{name} are not different node ids")
    return [int(text) for text in texts]


def value_of(record: Mapping[str, object], name: str, kind: type[T]) -> T:
    """Read one value.

    Raises:
        ProtocolError: It is missing or of another type.
    """
    value = record.get(name)
    if type(value) is not kind:
        raise ProtocolError(f"{name} is not a {kind.__name__}")
    return value


def seed_of(value: bytes) -> bytes:
    """Check a reconstructed seed's length.

    Raises:
        ProtocolError: It has another one.
    """
    if len(value) != SEED_BYTES:
        raise ProtocolError("a seed has another length than 32 bytes")
    return value
