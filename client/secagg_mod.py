"""The client's part of secure aggregation: a Flower mod inside the signing mod.

It answers the stages ``keys``, ``shares`` and ``unmask`` itself; in ``update`` it lets the app train and sends the
masked change in the place of the model. What it keeps between stages lies in ``context.state`` and is deleted with the
last one. Everything it sends is signed by the signing mod around it; the public keys carry a signature of their own
besides, which the neighbours check, so that a server cannot put its own keys in their place. Where the run's settings
or the node's own config say ``secure-aggregation``, a request to train without the protocol is refused: a server must
not get an update in the clear by asking for it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from cryptography.exceptions import InvalidTag
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod

from client.signing_mod import IdentityOf
from shared.crypto.directory import KeyDirectory
from shared.crypto.signing import is_statement_signed, sign_statement
from shared.errors import ProtocolError
from shared.parameters import Arrays
from shared.records import config_record, from_array_record, to_array_record
from shared.secagg.masks import SEED_BYTES, Words, agreed_seed, expand, public_bytes, seal, unseal
from shared.secagg.protocol import (
    KEYS,
    MASKED,
    RECORD,
    SHARES,
    UNMASK,
    UPDATE,
    PublicKeys,
    SecretShares,
    keys_from_record,
    keys_to_record,
    list_of,
    nodes_of,
    value_of,
)
from shared.secagg.quantisation import Quantisation, weight_of
from shared.secagg.shamir import split

_SETTING = "secure-aggregation"
MIN_NEIGHBOURS = 2  # the sum of two updates tells each of the two the other's
DirectoryOf = Callable[[Context], KeyDirectory]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Call:
    """One message, and what answers it."""

    message: Message
    context: Context
    app: ClientAppCallable
    asked: Mapping[str, object]  # the protocol's record
    identity_of: IdentityOf
    directory_of: DirectoryOf

    @property
    def node(self) -> int:
        """This node's id."""
        return int(self.message.metadata.dst_node_id)

    def reply(self, record: Mapping[str, object]) -> Message:
        """Answer with a record of the protocol."""
        return Message(RecordDict({RECORD: config_record(dict(record))}), reply_to=self.message)  # type: ignore[arg-type]


def make_secagg_mod(identity_of: IdentityOf, directory_of: DirectoryOf) -> Mod:
    """Make the mod.

    Args:
        identity_of: The client a context belongs to, and its key.
        directory_of: Whose keys a client takes for its neighbours'; not the server's word.
    """

    def mod(message: Message, context: Context, app: ClientAppCallable) -> Message:
        record = message.content.get(RECORD)
        if not isinstance(record, ConfigRecord):
            if message.metadata.message_type.partition(".")[0] == "train" and _is_in_secret(context):
                raise ProtocolError("this client trains in secret only, and was asked for its update in the clear")
            return app(message, context)
        stage = value_of(record, "stage", str)
        if stage not in _STAGES:
            raise ProtocolError(f"secure aggregation has no stage {stage[:40]!r}")
        call = _Call(
            message=message,
            context=context,
            app=app,
            asked=record,
            identity_of=identity_of,
            directory_of=directory_of,
        )
        return _STAGES[stage](call)

    return mod


def _is_in_secret(context: Context) -> bool:
    """Tell whether updates leave this client masked only: by the run's settings, or its owner's whatever these are."""
    return any(config.get(_SETTING) is True for config in (context.run_config, context.node_config))


def _keys(call: _Call) -> Message:
    """Make fresh keys for this round, and send the public ones."""
    session = value_of(call.asked, "session", str)
    seal_key, mask_key = os.urandom(SEED_BYTES), os.urandom(SEED_BYTES)
    identity = call.identity_of(call.context)
    unsigned = PublicKeys(
        node=call.node,
        client_id=identity.client_id,
        key_id=identity.key_id,
        seal_key=public_bytes(seal_key),
        mask_key=public_bytes(mask_key),
        signature=b"",
    )
    signature = sign_statement(identity.key, unsigned.statement(session))
    call.context.state[RECORD] = ConfigRecord({"session": session, "seal-key": seal_key, "mask-key": mask_key})
    signed = PublicKeys(
        node=unsigned.node,
        client_id=unsigned.client_id,
        key_id=unsigned.key_id,
        seal_key=unsigned.seal_key,
        mask_key=unsigned.mask_key,
        signature=signature,
    )
    return call.reply(keys_to_record([signed]))


def _shares(call: _Call) -> Message:
    """Check the neighbours' keys, and seal for each its shares of this client's two secrets."""
    state = _state(call, "seal-key", "mask-key")
    session = value_of(state, "session", str)
    if "self-seed" in state:
        raise ProtocolError("the shares of this round were given already")  # other neighbours would get other shares
    known = keys_from_record(call.asked)
    _check_neighbours(call, known, session)
    threshold = value_of(call.asked, "threshold", int)
    if not len(known) // 2 < threshold <= len(known):
        raise ProtocolError(f"threshold {threshold} of {len(known)} neighbours: more than half must be needed")
    known.sort(key=lambda one: one.node)
    self_seed = os.urandom(SEED_BYTES)
    cut = [
        split(secret, len(known), threshold, secrets.randbelow)
        for secret in (self_seed, value_of(state, "mask-key", bytes))
    ]
    letters = [
        seal(
            _letter_key(state, other, sender=call.node, addressee=other.node),
            SecretShares(self_mask=cut[0][place].to_bytes(), mask_key=cut[1][place].to_bytes()).to_bytes(),
        )
        for place, other in enumerate(known)
    ]
    call.context.state[RECORD] = ConfigRecord(
        {**state, **keys_to_record(known), "self-seed": self_seed, "threshold": threshold}
    )
    return call.reply({"nodes": [str(one.node) for one in known], "letters": letters})


def _update(call: _Call) -> Message:
    """Train, and send the change as masked whole numbers."""
    state = _state(call, "self-seed", "threshold")
    if "senders" in state:
        raise ProtocolError("the update of this round was sent already: a second one would tell the difference")
    neighbours = {one.node: one for one in keys_from_record(state)}
    senders = nodes_of(call.asked, "nodes")
    letters = list_of(call.asked, "letters", bytes)
    if len(letters) != len(senders) or not set(senders) <= neighbours.keys():
        raise ProtocolError("letters are not from this client's neighbours")
    if len(senders) < max(value_of(state, "threshold", int), MIN_NEIGHBOURS):
        raise ProtocolError(f"only {len(senders)} neighbours are left: the masks could not be taken off again")
    for sender, letter in zip(senders, letters, strict=True):
        _open(state, neighbours[sender], letter, node=call.node)  # before training: a bad one stops this client here
    grid = _grid(call.asked)
    plain = Message(
        RecordDict({name: record for name, record in call.message.content.items() if name != RECORD}),
        dst_node_id=call.message.metadata.dst_node_id,
        message_type="train",
    )
    trained = call.app(plain, call.context)
    if trained.has_error():
        return Message(trained.error, reply_to=call.message)
    words = grid.encode(*_change(call.message, trained, grid, value_of(call.asked, "max-examples", int)))
    words += expand(value_of(state, "self-seed", bytes), words.size)
    for sender in senders:
        _add_mask(words, state, neighbours[sender], node=call.node)
    call.context.state[RECORD] = ConfigRecord({**state, "senders": [str(one) for one in senders], "letters": letters})
    return Message(RecordDict({MASKED: to_array_record({MASKED: words})}), reply_to=call.message)


def _unmask(call: _Call) -> Message:
    """Give one share for each neighbour: of its own mask where its update came, of its mask key where it did not.

    Never both: with both, an update would be laid bare.
    """
    state = _state(call, "senders")
    neighbours = {one.node: one for one in keys_from_record(state)}
    letters = dict(zip(nodes_of(state, "senders"), list_of(state, "letters", bytes), strict=True))
    came, gone = nodes_of(call.asked, "came"), nodes_of(call.asked, "gone")
    if set(came) & set(gone) or set(came) | set(gone) != letters.keys():
        raise ProtocolError("each neighbour must either have come or be gone")
    if len(came) < value_of(state, "threshold", int):
        raise ProtocolError(f"only {len(came)} neighbours' updates came: the round cannot be unmasked")
    opened = {node: _open(state, neighbours[node], letters[node], node=call.node) for node in letters}
    del call.context.state[RECORD]  # asked again with other lists, this client has nothing left to tell
    shares = [opened[node].self_mask for node in came] + [opened[node].mask_key for node in gone]
    reply = call.reply({"nodes": [str(node) for node in (*came, *gone)], "shares": shares})
    reply.content["metrics"] = MetricRecord({"num-examples": 1})  # FedAvg and its family want one
    return reply


def _check_neighbours(call: _Call, known: list[PublicKeys], session: str) -> None:
    """Check that each neighbour's keys are a client's of its own, by this client's own directory."""
    own = call.identity_of(call.context).client_id
    clients = [one.client_id for one in known]
    if len(known) < MIN_NEIGHBOURS:
        raise ProtocolError(f"{len(known)} neighbours are too few: a sum of two updates hides neither")
    if len({one.node for one in known} | {call.node}) != len(known) + 1 or len({*clients, own}) != len(known) + 1:
        raise ProtocolError("a neighbour is there twice, or is this client itself")
    directory = call.directory_of(call.context)
    for one in known:
        enrolled = directory.find(one.client_id, one.key_id)
        if enrolled is None or enrolled.is_revoked:
            raise ProtocolError(f"the keys of {one.client_id[:64]!r} are signed with a key this client does not trust")
        if not is_statement_signed(enrolled.public_key, one.signature, one.statement(session)):
            raise ProtocolError(f"the keys of {one.client_id[:64]!r} are not signed by it: somebody changed them")


def _state(call: _Call, *needed: str) -> ConfigRecord:
    """Return what was kept of this session."""
    state = call.context.state.get(RECORD)
    session = value_of(call.asked, "session", str)
    if not isinstance(state, ConfigRecord) or state.get("session") != session or not set(needed) <= state.keys():
        raise ProtocolError("this client is not in this stage of this session")
    return state


def _grid(asked: Mapping[str, object]) -> Quantisation:
    return Quantisation(
        clip=value_of(asked, "clip", float),
        max_weight=value_of(asked, "max-weight", int),
        cohort=value_of(asked, "cohort", int),
    )


def _letter_key(state: Mapping[str, object], other: PublicKeys, *, sender: int, addressee: int) -> bytes:
    context = f"{value_of(state, 'session', str)}/{sender}/{addressee}".encode()
    return _agreed(state, "seal-key", other.seal_key, "seal", context)


def _open(state: Mapping[str, object], sender: PublicKeys, letter: bytes, *, node: int) -> SecretShares:
    key = _letter_key(state, sender, sender=sender.node, addressee=node)
    try:
        return SecretShares.from_bytes(unseal(key, letter))
    except InvalidTag as error:
        raise ProtocolError(f"the letter of {sender.client_id[:64]!r} was changed on the way") from error


def _add_mask(words: Words, state: Mapping[str, object], other: PublicKeys, *, node: int) -> None:
    """Add the mask that both have, or take it away: one of the two does either."""
    seed = _agreed(state, "mask-key", other.mask_key, "mask", value_of(state, "session", str).encode())
    mask = expand(seed, words.size)
    if node < other.node:
        words += mask
    else:
        words -= mask


def _agreed(state: Mapping[str, object], own: str, public: bytes, purpose: str, context: bytes) -> bytes:
    try:
        return agreed_seed(value_of(state, own, bytes), public, "seal" if purpose == "seal" else "mask", context)
    except ValueError as error:
        raise ProtocolError("a public key is of no use: it gives everybody the same secret") from error


def _change(
    request: Message, trained: Message, grid: Quantisation, max_examples: int
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], int]:
    """Return the flat change of all arrays of floats, by sorted name, and what it weighs."""
    base, update = _only_arrays(request), _only_arrays(trained)
    if base.keys() != update.keys():
        raise ProtocolError("the app answered with other arrays than the global model's")
    parts = [
        np.asarray(update[name], np.float64).reshape(-1) - np.asarray(base[name], np.float64).reshape(-1)
        for name in sorted(base)
        if base[name].dtype.kind == "f"
    ]
    change = np.concatenate(parts)
    if not np.isfinite(change).all():
        raise ProtocolError("the trained model has a value that is not finite: nothing is sent")
    metrics = next((record for record in trained.content.values() if isinstance(record, MetricRecord)), MetricRecord())
    return change, weight_of(value_of(metrics, "num-examples", int), max_examples, grid.max_weight)


def _only_arrays(message: Message) -> Arrays:
    records = [record for record in message.content.values() if isinstance(record, ArrayRecord)]
    if len(records) != 1:
        raise ProtocolError(f"secure aggregation sums one array record, and there are {len(records)}")
    return from_array_record(records[0])


_STAGES: Mapping[str, Callable[[_Call], Message]] = {KEYS: _keys, SHARES: _shares, UPDATE: _update, UNMASK: _unmask}
