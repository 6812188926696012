"""Hostile clients on purpose, for ``--attack NAME:K``: what the server's checks are tried against.

Each attack stands where a real one would. Those on the content (``nan``, ``scale``, ``sign-flip``, ``shape``,
``num-examples``, and those of ``client.collusion``) are mods inside the signing mod: a key's owner who lies signs the
lie. ``replay`` and ``silent`` stand outside of it, ``forge`` is an identity with a wrong key; ``label-flip``, ``sybil``
and ``backdoor`` change what the client trains on (``client.poisoned_data``), and the last is boosted to replace the
model (Bagdasaryan et al., AISTATS 2020, section 4.2).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from flwr.app import ArrayRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod

from client.collusion import Gang, colluding_mod
from client.hostile import hostile_clients
from client.signing_mod import ClientIdentity, IdentityOf, client_id_of
from shared.config import RunConfig
from shared.crypto.keys import MIN_KEY_BITS, PUBLIC_EXPONENT
from shared.parameters import AnyArray, Arrays
from shared.records import from_array_record, to_array_record

SCALE = 1000.0  # of the honest change: two orders of magnitude above the usual max-norm-factor of 10
CLAIMED_EXAMPLES = 10**12
_UNKNOWN_ERROR = 0  # Flower's code for an error of no particular kind
_REPLAY_PREFIX = "hostile-replay"
COLLUDING = frozenset({"alie", "alie-1", "ipm", "sybil", "gaussian", "free-rider"})

# (the global model received, the honest update) -> the update that is sent
ArrayAttack = Callable[[Arrays, dict[str, AnyArray]], dict[str, AnyArray]]


def hostile_mods(config: RunConfig) -> tuple[list[Mod], list[Mod]]:
    """Return the mods to put outside and inside of the signing mod; both lists are empty without such attacks."""
    hostile = hostile_clients(config)
    outer = {client: _OUTER[name] for client, name in hostile.items() if name in _OUTER}
    inner = {client: _on_training(_INNER[name]) for client, name in hostile.items() if name in _INNER}
    for attack in COLLUDING.intersection(hostile.values()):
        members = [client for client, name in hostile.items() if name == attack]
        inner |= dict.fromkeys(members, colluding_mod(attack, _gang(config, members)))
    if booted := [client for client, name in hostile.items() if name == "backdoor"]:
        inner |= dict.fromkeys(booted, _on_training(_on_arrays(_times(_cohort(config) / len(booted)))))
    return [_for_clients(outer)] if outer else [], [_for_clients(inner)] if inner else []


def _gang(config: RunConfig, members: list[str]) -> Gang:
    partitions = tuple(sorted(int(client.removeprefix("client-")) for client in members))
    return Gang(partitions=partitions, cohort=_cohort(config), seed=config.seed)


def _cohort(config: RunConfig) -> int:
    return max(round(config.fraction * config.num_clients), 1)


def forging(config: RunConfig, identity_of: IdentityOf) -> IdentityOf:
    """Give the ``forge`` clients a key that is not theirs, under the name of theirs; the others keep what they have."""
    forgers = {client for client, name in hostile_clients(config).items() if name == "forge"}
    made: list[RSAPrivateKey] = []

    def forged_identity(context: Context) -> ClientIdentity:
        identity = identity_of(context)
        if identity.client_id not in forgers:
            return identity
        if not made:
            made.append(generate_private_key(PUBLIC_EXPONENT, MIN_KEY_BITS))
        return replace(identity, key=made[0])

    return forged_identity if forgers else identity_of


def _for_clients(mods: Mapping[str, Mod]) -> Mod:
    """Make one mod for the ClientApp that plays all clients: each hostile one gets its own, the others none."""

    def mod(message: Message, context: Context, app: ClientAppCallable) -> Message:
        own = mods.get(client_id_of(context))
        return own(message, context, app) if own else app(message, context)

    return mod


def _replay(message: Message, context: Context, app: ClientAppCallable) -> Message:
    """Answer honestly once a message type, and send the same signed answer ever after.

    It is kept in the client's state: another worker process may play the client next time.
    """
    prefix = f"{_REPLAY_PREFIX}/{message.metadata.message_type}/"
    kept = {name.removeprefix(prefix): item for name, item in context.state.items() if name.startswith(prefix)}
    if kept:
        return Message(RecordDict(kept), reply_to=message)
    reply = app(message, context)
    if not reply.has_error():
        for name, item in reply.content.items():
            context.state[prefix + name] = item
    return reply


def _silent(message: Message, context: Context, app: ClientAppCallable) -> Message:  # noqa: ARG001 - it does not ask
    return Message(Error(_UNKNOWN_ERROR, "this client is silent: --attack silent"), reply_to=message)


def _on_training(attack: Callable[[Message, Message], RecordDict]) -> Mod:
    """Make a mod that changes the content of good train replies and leaves all else alone."""

    def mod(message: Message, context: Context, app: ClientAppCallable) -> Message:
        reply = app(message, context)
        if reply.has_error() or message.metadata.message_type.partition(".")[0] != "train":
            return reply
        changed = copy.copy(reply)
        changed.content = attack(message, reply)
        return changed

    return mod


def _on_arrays(attack: ArrayAttack) -> Callable[[Message, Message], RecordDict]:
    """Lift an attack on arrays to all array records that the request has too."""

    def changed(message: Message, reply: Message) -> RecordDict:
        content = RecordDict({**reply.content})
        for name, received in message.content.array_records.items():
            if isinstance(sent := content.get(name), ArrayRecord):
                honest = {key: np.array(array) for key, array in from_array_record(sent).items()}
                content[name] = to_array_record(attack(from_array_record(received), honest))
        return content

    return changed


def _one_nan(received: Arrays, update: dict[str, AnyArray]) -> dict[str, AnyArray]:  # noqa: ARG001 - not needed
    for array in update.values():
        if np.issubdtype(array.dtype, np.floating) and array.size:
            array.flat[0] = np.nan
            break
    return update


def _times(factor: float) -> ArrayAttack:
    """Make the attack that multiplies the change to the global model."""

    def attack(received: Arrays, update: dict[str, AnyArray]) -> dict[str, AnyArray]:
        return {name: _moved(received[name], array, factor) for name, array in update.items()}

    return attack


def _moved(start: AnyArray, end: AnyArray, factor: float) -> AnyArray:
    if not np.issubdtype(end.dtype, np.floating):
        return end
    return (start + factor * (end.astype(np.float64) - start)).astype(end.dtype)


def _other_shape(received: Arrays, update: dict[str, AnyArray]) -> dict[str, AnyArray]:  # noqa: ARG001 - not needed
    """Put an axis of one before the first array: what numpy would broadcast without a word."""
    first = next(iter(update))
    return {**update, first: update[first][None]}


def _claim_examples(message: Message, reply: Message) -> RecordDict:  # noqa: ARG001 - not needed
    records = {
        name: MetricRecord({**item, "num-examples": CLAIMED_EXAMPLES}) if isinstance(item, MetricRecord) else item
        for name, item in reply.content.items()
    }
    return RecordDict(records)


_OUTER: Mapping[str, Mod] = {"replay": _replay, "silent": _silent}
_INNER: Mapping[str, Callable[[Message, Message], RecordDict]] = {
    "nan": _on_arrays(_one_nan),
    "scale": _on_arrays(_times(SCALE)),
    "sign-flip": _on_arrays(_times(-1.0)),
    "shape": _on_arrays(_other_shape),
    "num-examples": _claim_examples,
}
