"""Hostile clients that know each other: each works out what all of them would have sent, and sends what hurts.

In a simulation every worker holds everybody's data, and a client's update follows from (seed, round, partition), so a
colluder trains for its partners too and all come to the same estimate without a message between them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod
from numpy.typing import NDArray

from client.poison import a_little_is_enough, inner_product_manipulation, largest_unnoticed_z, noise_of_length
from shared.parameters import AnyArray, Arrays
from shared.records import from_array_record, to_array_record

FloatArray = NDArray[np.float64]

GAUSSIAN_FACTOR = 5.0  # x the honest change: below the usual max-norm-factor of 10
FREE_RIDER_NOISE = 1e-3  # standard deviation: Fraboni et al., AISTATS 2021, "disguised" free-riders
IPM_MARGIN = 1.1  # x (n - f) / f, above which the mean turns round
_NOISE_STREAM = 3  # the run's seed feeds several generators; each has its number


@dataclass(frozen=True, slots=True, kw_only=True)
class Gang:
    """The clients that play one attack together."""

    partitions: tuple[int, ...]
    cohort: int  # clients of a round, they among them
    seed: int


# (honest deltas of the whole gang, this client's place in it, random numbers of this client and round) -> its delta
Plan = Callable[[FloatArray, int, np.random.Generator], FloatArray]


def plans_of(gang: Gang) -> Mapping[str, Plan]:
    """Return what a gang's members send, by attack."""
    hostile = len(gang.partitions)
    z_max = largest_unnoticed_z(gang.cohort, hostile)
    epsilon = IPM_MARGIN * max(gang.cohort - hostile, 1) / hostile
    return {
        "alie": lambda honest, _, __: a_little_is_enough(honest, z_max),
        "alie-1": lambda honest, _, __: a_little_is_enough(honest, 1.0),
        "ipm": lambda honest, _, __: inner_product_manipulation(honest, epsilon),
        "sybil": lambda honest, _, __: honest[0],
        "gaussian": lambda honest, place, rng: noise_of_length(honest[place], GAUSSIAN_FACTOR, rng),
        "free-rider": lambda honest, _, rng: FREE_RIDER_NOISE * rng.standard_normal(honest.shape[1]),
    }


# Whose honest work a member has to know: everybody's, the first one's, or its own.
_KNOWS_ALL, _KNOWS_FIRST = frozenset({"alie", "alie-1", "ipm"}), frozenset({"sybil"})


def colluding_mod(attack: str, gang: Gang) -> Mod:
    """Make the mod of a gang's members, to stand inside the signing mod."""
    plan = plans_of(gang)[attack]

    def mod(message: Message, context: Context, app: ClientAppCallable) -> Message:
        own = context.node_config.get("partition-id")
        reply = app(message, context)
        if reply.has_error() or message.metadata.message_type.partition(".")[0] != "train" or type(own) is not int:
            return reply
        known = _known(attack, gang, own)
        partners = [reply if partition == own else app(message, _as(context, partition)) for partition in known]
        rng = np.random.default_rng([gang.seed, _NOISE_STREAM, _round_of(message), own])
        changed = copy.copy(reply)
        changed.content = RecordDict({**reply.content})
        for name, received in message.content.array_records.items():
            sent = [partner.content.get(name) for partner in partners if not partner.has_error()]
            if sent and all(isinstance(record, ArrayRecord) for record in sent):
                base = from_array_record(received)
                updates = [from_array_record(record) for record in sent if isinstance(record, ArrayRecord)]
                planned = plan(_flat_deltas(base, updates), known.index(own) if own in known else 0, rng)
                changed.content[name] = to_array_record(_moved(base, updates[0], planned))
        return changed

    return mod


def _known(attack: str, gang: Gang, own: int) -> list[int]:
    if attack in _KNOWS_ALL:
        return list(gang.partitions)
    return [gang.partitions[0]] if attack in _KNOWS_FIRST else [own]


def _as(context: Context, partition: int) -> Context:
    """Return a partner's context, with a state of its own: nothing of it is kept."""
    partner = copy.copy(context)
    partner.node_config = {**context.node_config, "partition-id": partition}
    partner.state = RecordDict()
    return partner


def _round_of(message: Message) -> int:
    for record in message.content.values():
        if isinstance(record, ConfigRecord) and isinstance(number := record.get("server-round"), int):
            return number
    return 0


def _floats(arrays: Arrays) -> list[str]:
    return [name for name, array in arrays.items() if np.issubdtype(array.dtype, np.floating)]


def _flat_deltas(base: Arrays, updates: Sequence[Arrays]) -> FloatArray:
    """Return the changes of all arrays of floats, one after the other: (updates, coordinates)."""
    rows = [
        np.concatenate([(update[name].astype(np.float64) - base[name]).reshape(-1) for name in _floats(base)])
        for update in updates
    ]
    return np.stack(rows)


def _moved(base: Arrays, like: Arrays, delta: FloatArray) -> dict[str, AnyArray]:
    """Return the global model moved by a flat change; what is no float is taken from an honest update."""
    moved = {name: np.array(array) for name, array in like.items()}
    start = 0
    for name in _floats(base):
        part = delta[start : start + base[name].size].reshape(base[name].shape)
        moved[name] = (base[name] + part).astype(base[name].dtype)
        start += base[name].size
    return moved
