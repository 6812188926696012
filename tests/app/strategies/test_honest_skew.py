"""Clients that are honest and as unlike each other as data can be: really trained, on Dirichlet 0.05."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import pytest
import torch
from flwr.app import Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from client.runtime import ClientRuntime
from shared.config import RunConfig
from shared.datasets.federated import federate
from shared.events import UpdateAccepted, UpdateCapped
from shared.records import from_array_record, to_array_record
from tests.actors import Federation

NUM_CLIENTS = 50


@pytest.fixture(scope="module")
def skewed() -> Iterator[Federation]:
    """Train one round of everybody; enrolled with the sizes of their partitions, as a simulation does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker does; on a busy machine more would only wait for each other
    config = RunConfig(model="mlp", num_clients=NUM_CLIENTS, alpha=0.05, device="cpu")
    data = federate(config)
    runtime = ClientRuntime(config, data)

    def work(client: str, message: Message) -> RecordDict:
        partition_id = int(client.rpartition("-")[2])
        arrays, result = runtime.train(
            from_array_record(message.content["arrays"]), partition_id=partition_id, server_round=1
        )
        metrics = MetricRecord({"num-examples": result.num_examples, "loss": result.loss})
        return RecordDict({"arrays": to_array_record(arrays), "metrics": metrics})

    names = {f"client-{index}": index for index in range(NUM_CLIENTS)}
    federation = Federation(
        num_clients=NUM_CLIENTS,
        inner=FedAvg(min_train_nodes=1, min_available_nodes=1),
        work=dict.fromkeys(names, work),
        model=runtime.model.snapshot(),
        options={"max_examples": lambda client: data.num_examples(names[client])},
    )
    federation.train()
    yield federation
    torch.set_num_threads(threads)


def accepted(federation: Federation) -> list[UpdateAccepted]:
    return [event for event in federation.events if isinstance(event, UpdateAccepted)]


def test_every_honest_client_passes(skewed: Federation) -> None:
    assert skewed.rejections() == []
    assert len(accepted(skewed)) == NUM_CLIENTS
    assert not any(isinstance(event, UpdateCapped) for event in skewed.events)


def test_the_clients_differ_more_than_the_plain_bounds_allow(skewed: Federation) -> None:
    # Or the test above would show nothing.
    norms = [event.norm for event in accepted(skewed) if event.norm is not None]
    counts = [event.num_examples for event in accepted(skewed)]

    assert max(norms) > 10 * statistics.median(norms)
    assert max(counts) > 100 * min(counts)
