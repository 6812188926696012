"""One round of secure aggregation on the server: who is where in it, what messages hold, and the unmasked sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from flwr.app import ConfigRecord, Message

from shared.errors import ProtocolError
from shared.parameters import Arrays
from shared.secagg.masks import Words, agreed_seed, expand
from shared.secagg.neighbours import threshold_of
from shared.secagg.protocol import RECORD, PublicKeys, keys_from_record, list_of, nodes_of
from shared.secagg.shamir import Share, combine

_SEED_BYTES = 32


@dataclass(slots=True, kw_only=True)
class Session:
    """One round under way."""

    name: str
    requests: dict[int, Message]  # the inner strategy's own, by node
    base: Arrays
    keys: dict[int, PublicKeys] = field(default_factory=dict)
    groups: list[list[int]] = field(default_factory=list)  # nodes
    near: dict[int, list[int]] = field(default_factory=dict)  # neighbours, as the keys were sent
    letters: dict[int, dict[int, bytes]] = field(default_factory=dict)  # sender -> addressee -> letter
    masked: dict[int, Words] = field(default_factory=dict)

    def came(self, group: Sequence[int]) -> list[int]:
        """Return whose updates of a group came."""
        return [node for node in group if node in self.masked]

    def senders_to(self, node: int) -> list[int]:
        """Return the neighbours whose letters there are for a node: with those it shares masks."""
        return [other for other in self.near[node] if node in self.letters.get(other, {})]


def _record_of(reply: Message) -> Mapping[str, object]:
    record = reply.content.get(RECORD)
    if not isinstance(record, ConfigRecord):
        raise ProtocolError("a reply holds no record of the protocol")
    return record


def own_keys(reply: Message, node: int) -> PublicKeys:
    """Read a client's own public keys.

    Raises:
        ProtocolError: It sends others', or none.
    """
    keys = keys_from_record(_record_of(reply))
    if len(keys) != 1 or keys[0].node != node:
        raise ProtocolError("a client sends its own keys and no others")
    return keys[0]


def letters_of(reply: Message, near: Sequence[int]) -> dict[int, bytes]:
    """Read the letters a client wrote, by addressee.

    Raises:
        ProtocolError: They are not one for each of its neighbours.
    """
    record = _record_of(reply)
    letters = dict(zip(nodes_of(record, "nodes"), list_of(record, "letters", bytes), strict=False))
    if letters.keys() != set(near):
        raise ProtocolError("a client writes to each of its neighbours and to nobody else")
    return letters


def shares_by_owner(replies: Sequence[Message], session: Session) -> dict[int, list[Share]]:
    """Collect the shares of each owner's one secret that is asked for, with the place each holder has."""
    shares: dict[int, list[Share]] = {}
    for reply in replies:
        holder = reply.metadata.src_node_id
        try:
            record = _record_of(reply)
            owners, values = nodes_of(record, "nodes"), list_of(record, "shares", bytes)
            if len(owners) != len(values) or set(owners) != set(session.senders_to(holder)):
                raise ProtocolError("a client gives one share for each of its neighbours")
            found = {
                owner: Share.from_bytes(session.near[owner].index(holder) + 1, value)
                for owner, value in zip(owners, values, strict=True)
            }
        except (ProtocolError, ValueError, KeyError):
            continue  # as if it had not answered
        for owner, share in found.items():
            shares.setdefault(owner, []).append(share)
    return shares


def unmasked_sum(session: Session, came: Sequence[int], shares: Mapping[int, Sequence[Share]]) -> Words:
    """Add up a group's updates and take the masks off.

    Raises:
        ValueError: A secret has too few shares.
    """
    total = np.zeros_like(session.masked[came[0]])
    for node in came:
        total += session.masked[node]
        total -= expand(_secret(node, session, shares), total.size)
    gone = {other for node in came for other in session.senders_to(node) if other not in session.masked}
    context = session.name.encode()
    for node in sorted(gone):
        private = _secret(node, session, shares)
        for other in came:
            if node in session.senders_to(other):
                mask = expand(agreed_seed(private, session.keys[other].mask_key, "mask", context), total.size)
                if other < node:
                    total -= mask  # it added it
                else:
                    total += mask
    return total


def _secret(owner: int, session: Session, shares: Mapping[int, Sequence[Share]]) -> bytes:
    threshold = threshold_of(len(session.near[owner]))
    found = shares.get(owner, ())
    if len(found) < threshold:
        raise ValueError(f"{len(found)} shares of node {owner}'s secret came, and {threshold} are needed")
    return combine(found[:threshold], _SEED_BYTES)
