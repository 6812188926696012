"""A federation of synthetic clients: what strategies are tested with, without an engine."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from flwr.supercore.task_identity import TaskIdentity

from shared.records import from_array_record, to_array_record

INITIAL = {
    "conv.weight": np.arange(12, dtype=np.float32).reshape(2, 1, 2, 3) / 10,
    "conv.bias": np.array([0.5, -0.5], np.float32),
    "scale": np.array(1.5, np.float32),
}


class FakeGrid(Grid):
    """Knows who is connected; messages are answered by the test."""

    def __init__(self, node_ids: Iterable[int]) -> None:
        self.node_ids = list(node_ids)

    def get_node_ids(self) -> Iterable[int]:
        return list(self.node_ids)

    def set_run(self, run_id: int) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise NotImplementedError


class Federation:
    """Clients whose updates depend on the model they got, the round and their node id, and on nothing else."""

    def __init__(self, num_clients: int = 5) -> None:
        self.grid = FakeGrid(range(101, 101 + num_clients))
        self.model = to_array_record(INITIAL)
        self.requests: list[Message] = []

    def train(self, request: Message) -> Message:
        """Answer a training request: the model moved by seeded noise."""
        server_round = int(request.content["config"]["server-round"])
        node_id = request.metadata.dst_node_id
        rng = np.random.default_rng([server_round, node_id])
        arrays = {
            name: array + rng.normal(size=array.shape).astype(array.dtype)
            for name, array in from_array_record(request.content["arrays"]).items()
        }
        metrics = {"num-examples": int(rng.integers(1, 100)), "loss": float(rng.random()), "accuracy": 0.5}
        return self.reply(request, arrays, metrics)

    def reply(self, request: Message, arrays: dict[str, Any], metrics: dict[str, Any]) -> Message:
        """Answer with these arrays (none when evaluating) and metrics."""
        content = RecordDict({"metrics": MetricRecord(metrics)})
        if arrays:
            content["arrays"] = to_array_record(arrays)
        return Message(content, reply_to=request)

    def fail(self, request: Message) -> Message:
        """Answer with an error."""
        return Message(Error(code=0, reason="out of memory"), reply_to=request)

    def ask(self, strategy: Strategy, server_round: int) -> list[Message]:
        """Let the strategy sample and configure, from a seed of the round."""
        random.seed(server_round)
        self.requests = list(strategy.configure_train(server_round, self.model, ConfigRecord(), self.grid))
        return self.requests

    def play(self, strategy: Strategy, rounds: Iterable[int]) -> dict[str, np.ndarray]:
        """Run rounds as Flower's ``Strategy.start`` does and return the model."""
        for server_round in rounds:
            replies = [self.train(request) for request in self.ask(strategy, server_round)]
            arrays, _ = strategy.aggregate_train(server_round, replies)
            self.model = arrays if arrays is not None else self.model
        return from_array_record(self.model)


@pytest.fixture(autouse=True)
def _identity() -> Iterator[None]:
    """Flower's ``Message`` asks whose process this is."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_task_id", "_run_id", "_node_id"):
            patch.setattr(TaskIdentity, name, 1)
        yield


@pytest.fixture
def federation() -> Federation:
    """Five clients."""
    return Federation()


@pytest.fixture
def make_federation() -> Callable[[int], Federation]:
    """Make a federation of so many clients."""
    return Federation


@pytest.fixture
def initial_model() -> ArrayRecord:
    """The model of a new federation."""
    return to_array_record(INITIAL)
