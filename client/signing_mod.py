"""A Flower mod that verifies the server's request, lets the app work, and signs what leaves the machine.

It stands outermost: replies pass mods from the inside out, so compression and clipping come before the signature.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp.typing import ClientAppCallable, Mod

from shared.crypto.digest import DigestCache
from shared.crypto.directory import FolderDirectory
from shared.crypto.keys import (
    PUBLIC_SUFFIX,
    SERVER_ID,
    KeyStore,
    is_valid_id,
    key_id,
    load_private_key,
    load_public_key,
)
from shared.crypto.signing import (
    ALGORITHM,
    PROTOCOL_VERSION,
    RAW_CODEC,
    REQUEST_RECORD,
    SIGNATURE_RECORD,
    RequestHeader,
    UpdateHeader,
    sign_update,
    verify_request,
)
from shared.errors import KeyStoreError, RequestRefused
from shared.parameters import Arrays, model_digest
from shared.records import config_record, flatten_records, record_dict, values_of

KEY_PASSWORD_VARIABLE = "CONSTELLATION_KEY_PASSWORD"  # noqa: S105 - the name of a variable, not a password
# What a deployed client still works on. Flower drops a message after 12 hours; a request that is older was kept by
# somebody and sent again. Within this time a request can be repeated, but its answer is used once at most.
MAX_REQUEST_AGE_S = 24 * 3600.0
_MAX_KEPT_KEYS = 1024  # of the clients a simulation's worker plays: 2 kB each


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClientIdentity:
    """Who signs."""

    client_id: str
    key: RSAPrivateKey
    key_id: str


IdentityOf = Callable[[Context], ClientIdentity]
ServerKeyOf = Callable[[Context], RSAPublicKey]


def make_signing_mod(
    identity_of: IdentityOf,
    server_key_of: ServerKeyOf,
    *,
    now: Callable[[], float] = time.time,
    digest_of: Callable[[Arrays], bytes] | None = None,
    max_age_s: float = math.inf,
) -> Mod:
    """Make the mod.

    Args:
        identity_of: The client a context belongs to, and its key.
        server_key_of: The key that this client accepts requests from.
        now: The client's clock.
        digest_of: The digest of a request's arrays; by default one that hashes the same arrays once.
        max_age_s: Seconds after which a request is not worked on any more, by both sides' clocks.
    """
    base_digest_of = digest_of or DigestCache().digest

    def sign(message: Message, context: Context, app: ClientAppCallable) -> Message:
        request = _verified(message, server_key_of(context), base_digest_of)
        _require_recent(request, now(), max_age_s)
        identity = identity_of(context)
        reply = app(_without_request(message), context)
        if reply.has_error():
            return reply
        return _signed(reply, request, identity, now())

    return sign


def _verified(message: Message, server_key: RSAPublicKey, base_digest_of: Callable[[Arrays], bytes]) -> RequestHeader:
    """Check that the server asks this, of this node.

    Raises:
        RequestRefused: It does not, or nobody can tell.
    """
    record = message.content.get(REQUEST_RECORD)
    if not isinstance(record, ConfigRecord):
        raise RequestRefused("the request is not signed; switch signatures on at the server, or off at this client")
    try:
        arrays, values = flatten_records(message.content, without=REQUEST_RECORD)
        base_digest = base_digest_of(arrays)
    except ValueError as error:
        raise RequestRefused(f"the request's arrays cannot be read: {error}") from error
    request = verify_request(server_key, values_of(record), values, base_digest)
    metadata = message.metadata
    if request.node_id != str(metadata.dst_node_id):
        raise RequestRefused(f"the request is for node {request.node_id}, this is node {metadata.dst_node_id}")
    if request.message_type != metadata.message_type:
        raise RequestRefused(f"the server asked for {request.message_type!r}, not for {metadata.message_type!r}")
    return request


def _require_recent(request: RequestHeader, now: float, max_age_s: float) -> None:
    if now - request.issued_at > max_age_s:
        hours = (now - request.issued_at) / 3600
        raise RequestRefused(
            f"the server signed this request {hours:.0f} hours ago; somebody sends it again, or a clock is wrong"
        )


def _without_request(message: Message) -> Message:
    """Give the app what a strategy sent: Flower's own mods count the config records."""
    plain = copy.copy(message)  # what the server sent stays as it is: a grid in the same process holds on to it
    plain.content = record_dict({name: item for name, item in message.content.items() if name != REQUEST_RECORD})
    return plain


def _signed(reply: Message, request: RequestHeader, identity: ClientIdentity, now: float) -> Message:
    header = UpdateHeader(
        protocol_version=PROTOCOL_VERSION,
        run_id=request.run_id,
        attempt=request.attempt,
        server_round=request.server_round,
        phase=request.phase,
        nonce=request.nonce,
        client_id=identity.client_id,
        node_id=request.node_id,
        key_id=identity.key_id,
        algorithm=ALGORITHM,
        base_digest=request.base_digest,
        issued_at=now,
        codec=RAW_CODEC,
    )
    arrays, values = flatten_records(reply.content, without=SIGNATURE_RECORD)
    signature = sign_update(identity.key, header, values, model_digest(arrays))
    signed = copy.copy(reply)
    signed.content = record_dict({**reply.content, SIGNATURE_RECORD: config_record(signature)})
    return signed


def client_id_of(context: Context) -> str:
    """Return node-config's ``client-id``, by default ``client-<partition-id>``.

    Raises:
        KeyStoreError: Neither is there, or the id cannot name a key.
    """
    config = context.node_config
    if "client-id" not in config and "partition-id" not in config:
        raise KeyStoreError('this node has no name: give it client-id="..." in --node-config')
    client_id = str(config.get("client-id", f"client-{config.get('partition-id')}"))
    if not is_valid_id(client_id):
        raise KeyStoreError(f"client-id {client_id[:80]!r} must be 1 to 64 letters, digits, '.', '_' or '-'")
    return client_id


def identities_from(store: KeyStore, owner_of: Callable[[str], str] = lambda client_id: client_id) -> IdentityOf:
    """Take keys from a store, making those that are not there yet: for simulations.

    Args:
        store: Where the keys lie.
        owner_of: Whose key a client signs with; by default its own.
    """
    kept: OrderedDict[str, ClientIdentity] = OrderedDict()  # by owner

    def identity_of(context: Context) -> ClientIdentity:
        client_id = client_id_of(context)
        owner = owner_of(client_id)
        if owner not in kept:
            kept[owner] = _identity(owner, store.load_or_create(owner))
            if len(kept) > _MAX_KEPT_KEYS:
                kept.popitem(last=False)
        identity = kept[owner]
        return identity if owner == client_id else replace(identity, client_id=client_id)

    return identity_of


def identity_from_node_config(context: Context, environment: Mapping[str, str] = os.environ) -> ClientIdentity:
    """Take the key that node-config's ``key-path`` names: for SuperNodes.

    An encrypted key's password stands in the environment variable CONSTELLATION_KEY_PASSWORD.

    Raises:
        KeyStoreError: There is no such key, or it may not be used as it is.
    """
    password = environment.get(KEY_PASSWORD_VARIABLE, "")
    key = load_private_key(_key_path(context), password.encode() or None)
    return _identity(client_id_of(context), key)


def server_key_from_node_config(context: Context) -> RSAPublicKey:
    """Take the server's public key from node-config's ``server-key-path``, else from beside the client's own key.

    A client that has neither trains for nobody: there is no trust on first use.

    Raises:
        KeyStoreError: There is no such key.
    """
    named = context.node_config.get("server-key-path")
    path = Path(str(named)).expanduser() if named else _key_path(context).with_name(f"{SERVER_ID}{PUBLIC_SUFFIX}")
    return load_public_key(path)


def peers_from_node_config(context: Context) -> FolderDirectory:
    """Take other clients' public keys from the folder of the client's own key: for secure aggregation.

    Raises:
        KeyStoreError: The node has no key.
    """
    return FolderDirectory(_key_path(context).parent)


def _key_path(context: Context) -> Path:
    path = context.node_config.get("key-path")
    if not path:
        raise KeyStoreError(
            'signatures are on and this node has no key: give it key-path="/path/to/client.pem" in --node-config '
            "(make one with `constellation keys`)"
        )
    return Path(str(path)).expanduser()


def _identity(client_id: str, key: RSAPrivateKey) -> ClientIdentity:
    return ClientIdentity(client_id=client_id, key=key, key_id=key_id(key.public_key()))
