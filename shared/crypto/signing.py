"""Signatures on updates and on requests: RSA-PSS (RFC 8017, section 8.1) over one SHA-256 of header and content.

The algorithm is pinned per key and never taken from the message. A header has exactly its fields, each of exactly its
type: anything else is malformed.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from shared.config import key_of
from shared.crypto.digest import Fields, Scalar, content_digest
from shared.crypto.merkle import root_and_paths, root_of
from shared.errors import RequestRefused, UpdateRejected
from shared.reasons import Reason

PROTOCOL_VERSION = 1
ALGORITHM = "RSA-PSS-SHA256"
RAW_CODEC = "raw"  # arrays as they are; a compressed update names its codec and signs the bytes on the wire
NONCE_BYTES = 16
DIGEST_BYTES = 32
SIGNATURE_RECORD, REQUEST_RECORD = "signature", "request"  # names of the records on the wire
SIGNATURE_KEY, PATH_KEY = "signature", "path"

_SALT_BYTES = 32  # as long as the hash; a verifier that fixes it refuses other salts
_PADDING = PSS(mgf=MGF1(SHA256()), salt_length=_SALT_BYTES)
_PREHASHED = Prehashed(SHA256())
_UPDATE_TAG = b"constellation/update/v1\0"
_REQUEST_TAG = b"constellation/request/v1\0"
_REQUESTS_TAG = b"constellation/requests/v1\0"
_NODE_ID = re.compile(r"0|[1-9]\d{0,19}")  # Flower's node ids are uint64; its records hold sint64, hence text
_MAX_TEXT = 256  # characters of any text in a header


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHeader:
    """What the server says, and signs, of one request."""

    protocol_version: int
    run_id: str  # ours; it outlives a restart
    attempt: int  # which start of the round this is, from 1
    server_round: int
    phase: str  # "train", "evaluate", or a strategy's own
    message_type: str  # Flower's
    nonce: bytes  # NONCE_BYTES, new for each request
    node_id: str  # Flower's, in decimal
    key_id: str  # the server's
    algorithm: str
    base_digest: bytes  # of the arrays sent
    issued_at: float  # Unix seconds by the server's clock; informative


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateHeader:
    """What a client says, and signs, of one reply."""

    protocol_version: int
    run_id: str
    attempt: int
    server_round: int
    phase: str
    nonce: bytes  # the request's
    client_id: str
    node_id: str
    key_id: str  # the client's
    algorithm: str
    base_digest: bytes  # of the global model received
    issued_at: float  # Unix seconds by the client's clock; informative
    codec: str


def sign_update(key: RSAPrivateKey, header: UpdateHeader, scalars: Fields, arrays_digest: bytes) -> dict[str, Scalar]:
    """Sign a reply; returns the record that goes with it.

    Args:
        key: The client's.
        header: What the reply answers.
        scalars: Every metric and config value of the reply, as ``flatten_records`` names them.
        arrays_digest: ``model_digest`` of the reply's arrays.
    """
    record = _to_record(header)
    digest = content_digest(_UPDATE_TAG, record, scalars, arrays_digest)
    return {**record, SIGNATURE_KEY: key.sign(digest, _PADDING, _PREHASHED)}


def parse_update(record: Mapping[str, object]) -> tuple[UpdateHeader, bytes]:
    """Read a reply's header and signature; nothing is verified yet.

    Raises:
        UpdateRejected: It is of another protocol version or algorithm, or malformed.
    """
    version = record.get("protocol-version")
    if type(version) is int and version != PROTOCOL_VERSION:
        raise UpdateRejected(
            Reason.PROTOCOL_VERSION, f"the client speaks protocol {version}, this server {PROTOCOL_VERSION}"
        )
    try:
        header, (signature,) = _from_record(UpdateHeader, record, extra=(SIGNATURE_KEY,))
    except ValueError as error:
        raise UpdateRejected(Reason.MALFORMED, str(error)) from error
    return header, signature


def verify_update(
    key: RSAPublicKey, header: UpdateHeader, signature: bytes, scalars: Fields, arrays_digest: bytes
) -> None:
    """Check a reply's signature.

    Raises:
        UpdateRejected: It is not this key's signature of this reply.
    """
    if header.algorithm != ALGORITHM:
        raise UpdateRejected(Reason.ALGORITHM, f"algorithm {header.algorithm[:40]!r}, the key is pinned to {ALGORITHM}")
    digest = content_digest(_UPDATE_TAG, _to_record(header), scalars, arrays_digest)
    if not _is_signed(key, signature, digest):
        raise UpdateRejected(Reason.BAD_SIGNATURE, f"not signed by key {header.key_id[:16]}")


def sign_requests(key: RSAPrivateKey, requests: Sequence[tuple[RequestHeader, Fields]]) -> list[dict[str, Scalar]]:
    """Sign the requests of a phase with one signature; returns the record that goes with each.

    Args:
        key: The server's.
        requests: Each request's header and its config and metric values, as ``flatten_records`` names them.
    """
    if not requests:
        return []
    records = [_to_record(header) for header, _ in requests]
    digests = [
        content_digest(_REQUEST_TAG, record, scalars, header.base_digest)
        for record, (header, scalars) in zip(records, requests, strict=True)
    ]
    root, paths = root_and_paths(digests)
    signature = key.sign(_root_digest(root), _PADDING, _PREHASHED)
    return [{**record, PATH_KEY: path, SIGNATURE_KEY: signature} for record, path in zip(records, paths, strict=True)]


def verify_request(
    key: RSAPublicKey, record: Mapping[str, object], scalars: Fields, arrays_digest: bytes
) -> RequestHeader:
    """Check that the server signed this request, with these arrays.

    Raises:
        RequestRefused: It did not; says why.
    """
    version = record.get("protocol-version")
    if type(version) is int and version != PROTOCOL_VERSION:
        raise RequestRefused(f"the server speaks protocol {version}, this client {PROTOCOL_VERSION}; update the older")
    try:
        header, (path, signature) = _from_record(RequestHeader, record, extra=(PATH_KEY, SIGNATURE_KEY))
        if header.algorithm != ALGORITHM:
            raise ValueError(f"algorithm {header.algorithm[:40]!r} instead of {ALGORITHM}")
        digest = content_digest(_REQUEST_TAG, _to_record(header), scalars, header.base_digest)
        root = root_of(digest, path)
    except (ValueError, TypeError) as error:
        raise RequestRefused(f"the server's request is malformed: {error}") from error
    if header.base_digest != arrays_digest:
        raise RequestRefused("the global model is not the one the server signed; it was changed on the way")
    if not _is_signed_root(_ByIdentity(key), signature, _root_digest(root)):
        raise RequestRefused("the request is not signed by the server's key; check which public key this client trusts")
    return header


def sign_statement(key: RSAPrivateKey, statement: bytes) -> bytes:
    """Sign bytes that begin with a tag of their own, so that they are no update and no request."""
    return key.sign(hashlib.sha256(statement).digest(), _PADDING, _PREHASHED)


def is_statement_signed(key: RSAPublicKey, signature: bytes, statement: bytes) -> bool:
    """Tell whether the owner of ``key`` signed the statement."""
    return _is_signed(key, signature, hashlib.sha256(statement).digest())


class _ByIdentity:
    """A key as part of a cache's key: equal to the very same object only, which the cache keeps alive."""

    def __init__(self, key: RSAPublicKey) -> None:
        self.key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.key is other.key

    def __hash__(self) -> int:
        return id(self.key)


@functools.lru_cache(maxsize=16)
def _is_signed_root(key: _ByIdentity, signature: bytes, digest: bytes) -> bool:
    """Check a root's signature; all requests of a phase share it, and a worker answers many of them."""
    return _is_signed(key.key, signature, digest)


def _root_digest(root: bytes) -> bytes:
    return hashlib.sha256(_REQUESTS_TAG + root).digest()


def _is_signed(key: RSAPublicKey, signature: bytes, digest: bytes) -> bool:
    if len(signature) != key.key_size // 8:
        return False
    try:
        key.verify(signature, digest, _PADDING, _PREHASHED)
    except InvalidSignature:
        return False
    return True


H = TypeVar("H", RequestHeader, UpdateHeader)


# Of each header: field name, name on the wire, type.
_WIRE_FIELDS: dict[str, tuple[tuple[str, str, type], ...]] = {
    kind.__name__: tuple(
        (field.name, key_of(field.name), typing.get_type_hints(kind)[field.name]) for field in fields(kind)
    )
    for kind in (RequestHeader, UpdateHeader)
}


def _to_record(header: RequestHeader | UpdateHeader) -> dict[str, Scalar]:
    return {key: getattr(header, name) for name, key, _ in _WIRE_FIELDS[type(header).__name__]}


def _from_record(kind: type[H], record: Mapping[str, object], *, extra: Sequence[str]) -> tuple[H, list[bytes]]:
    """Read exactly the fields of ``kind``, and the bytes named in ``extra``.

    Raises:
        ValueError: A field is missing, unknown, of another type, or out of range.
    """
    wire = _WIRE_FIELDS[kind.__name__]
    wanted = {key for _, key, _ in wire} | set(extra)
    if record.keys() != wanted:
        differing = ", ".join(repr(key[:40]) for key in sorted(record.keys() ^ wanted)[:5])
        raise ValueError(f"header fields are missing or unknown: {differing}")
    for _, key, wanted_type in wire:
        _require_type(key, record[key], wanted_type)
    for key in extra:
        _require_type(key, record[key], bytes)
    header = kind(**{name: record[key] for name, key, _ in wire})  # type: ignore[arg-type]
    _require_ranges(header)
    return header, [typing.cast(bytes, record[key]) for key in extra]


def _require_type(key: str, value: object, wanted: type) -> None:
    if type(value) is not wanted:
        raise ValueError(f"{key} must be {wanted.__name__}, got {type(value).__name__}")
    if isinstance(value, str) and (len(value) > _MAX_TEXT or not value.isprintable()):
        raise ValueError(f"{key} must be at most {_MAX_TEXT} printable characters")


def _require_ranges(header: RequestHeader | UpdateHeader) -> None:
    if len(header.nonce) != NONCE_BYTES:
        raise ValueError(f"nonce must have {NONCE_BYTES} bytes, got {len(header.nonce)}")
    if len(header.base_digest) != DIGEST_BYTES:
        raise ValueError(f"base-digest must have {DIGEST_BYTES} bytes, got {len(header.base_digest)}")
    if not _NODE_ID.fullmatch(header.node_id):
        raise ValueError("node-id must be a whole number in decimal")
    if header.attempt < 1 or header.server_round < 0:
        raise ValueError("attempt must be at least 1 and server-round at least 0")
    if not math.isfinite(header.issued_at):
        raise ValueError("issued-at must be finite")
