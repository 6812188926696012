"""Actors for the tests of trust: honest clients, a server's strategy, and what mallory needs to get between them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, Strategy

from app.engine.memory_grid import MemoryClock, MemoryGrid
from app.strategies.validation import ValidationPolicy
from app.strategies.verified import VerifiedStrategy
from client.signing_mod import ClientIdentity, make_signing_mod
from shared.crypto.directory import MemoryDirectory
from shared.crypto.keys import key_id
from shared.events import Event, UpdateAccepted, UpdateRejected
from shared.parameters import AnyArray
from shared.records import from_array_record, to_array_record

RUN_ID = "run-1"
FIRST_NODE = 101  # a node id is not a client's number
MODEL = {
    "conv.weight": np.arange(12, dtype=np.float32).reshape(2, 1, 2, 3) / 10,
    "conv.bias": np.zeros(2, np.float32),
    "fc.weight": np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2),
}


@cache
def private_key(name: str) -> RSAPrivateKey:
    """Make one key a name and session; 2048 bits are made faster than 3072."""
    return generate_private_key(65537, 2048)


def identity(client: str, key_name: str = "") -> ClientIdentity:
    key = private_key(key_name or client)
    return ClientIdentity(client_id=client, key=key, key_id=key_id(key.public_key()))


Work = Callable[[str, Message], RecordDict]  # what a client answers with, by its id and request


def honest_work(client: str, message: Message) -> RecordDict:
    """Move every value of the model by a client's own small step; more examples for higher numbers."""
    number = int(client.rpartition("-")[2]) + 1
    arrays = from_array_record(message.content["arrays"])
    moved = {name: (array + np.asarray(number, array.dtype) / 8).astype(array.dtype) for name, array in arrays.items()}
    metrics = MetricRecord({"num-examples": 10 * number, "loss": 1.0 / number})
    if message.metadata.message_type == "evaluate":
        return RecordDict({"metrics": metrics})
    return RecordDict({"arrays": to_array_record(moved), "metrics": metrics})


@dataclass(kw_only=True)
class Federation:
    """A server's strategy and its clients, in one process."""

    num_clients: int = 3
    inner: Strategy | None = None
    policy: ValidationPolicy = field(default_factory=ValidationPolicy)
    work: Mapping[str, Work] = field(default_factory=dict)  # of clients that are not honest
    model: Mapping[str, AnyArray] = field(default_factory=lambda: MODEL)
    max_examples: int | None = None
    options: dict[str, object] = field(default_factory=dict)  # more arguments of VerifiedStrategy

    def __post_init__(self) -> None:
        self.events: list[Event] = []
        self.clients = [f"client-{index}" for index in range(self.num_clients)]
        self.nodes = {FIRST_NODE + index: client for index, client in enumerate(self.clients)}
        self.directory = MemoryDirectory()
        for client in self.clients:
            self.directory.enroll(client, private_key(client).public_key(), max_examples=self.max_examples)
        self.grid = MemoryGrid(list(self.nodes), lambda message: (self.answer(message), 0.0), MemoryClock())
        self.strategy = self.new_strategy()

    def new_strategy(self) -> VerifiedStrategy:
        """Make the server's strategy; a second one is the server after a restart."""
        return VerifiedStrategy(
            self.inner or FedAvg(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1),
            run_id=RUN_ID,
            server_key=private_key("server"),
            directory=self.directory,
            policy=self.policy,
            emit=self.events.append,
            **self.options,  # type: ignore[arg-type]
        )

    def answer(self, message: Message, *, client: str = "", signer: ClientIdentity | None = None) -> Message:
        """Let the client at a message's node answer, through its signing mod."""
        name = client or self.nodes[message.metadata.dst_node_id]
        mod = make_signing_mod(
            lambda _: signer or identity(name), lambda _: private_key("server").public_key(), now=lambda: 1.5
        )
        work = self.work.get(name, honest_work)
        context = Context(
            run_id=1, node_id=message.metadata.dst_node_id, node_config={}, state=RecordDict(), run_config={}
        )
        return mod(message, context, lambda request, _: Message(work(name, request), reply_to=request))

    def ask(
        self, server_round: int = 1, phase: str = "train", strategy: VerifiedStrategy | None = None
    ) -> list[Message]:
        """Let the server make its requests, in the order of the clients."""
        asking = strategy or self.strategy
        configure = asking.configure_train if phase == "train" else asking.configure_evaluate
        messages = configure(server_round, to_array_record(self.model), ConfigRecord(), self.grid)
        return sorted(messages, key=lambda message: message.metadata.dst_node_id)

    def replies(self, server_round: int = 1, phase: str = "train") -> list[Message]:
        return [self.answer(message) for message in self.ask(server_round, phase)]

    def train(self, server_round: int = 1) -> dict[str, AnyArray] | None:
        """Run one round of training; returns the new model."""
        arrays, _ = self.strategy.aggregate_train(server_round, self.replies(server_round))
        return None if arrays is None else from_array_record(arrays)

    def rejections(self) -> list[tuple[str, str]]:
        """Return (client, reason) of each rejection."""
        return [(event.client, event.reason) for event in self.events if isinstance(event, UpdateRejected)]

    def accepted(self) -> list[str]:
        return [event.client for event in self.events if isinstance(event, UpdateAccepted)]


def with_record(reply: Message, name: str, record: ArrayRecord | MetricRecord | ConfigRecord | None) -> Message:
    """Copy a reply with one record put in, replaced, or taken out: what somebody on the way can do."""
    changed = copy.copy(reply)
    records = {key: item for key, item in reply.content.items() if key != name or record is not None}
    changed.content = RecordDict(records | ({name: record} if record is not None else {}))
    return changed


def with_header(reply: Message, **fields: object) -> Message:
    """Copy a reply with fields of its signature record changed; None takes a field out."""
    record = dict(reply.content["signature"])
    for name, value in fields.items():
        record[name.replace("_", "-")] = value
    return with_record(reply, "signature", ConfigRecord({k: v for k, v in record.items() if v is not None}))


def bits(arrays: Mapping[str, AnyArray]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Return arrays in a form whose equality is that of every bit."""
    return {name: (array.dtype.name, array.shape, array.tobytes()) for name, array in sorted(arrays.items())}
