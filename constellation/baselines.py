"""What the federation is compared with: one model on everybody's data, and each client alone with its own.

Both train like a federation of one for as many rounds as the run had, with the run's own settings, from the same
initial weights, and are evaluated on the same central test set.
"""

from __future__ import annotations

import struct

import numpy as np
from flwr.app import ArrayRecord, RecordDict

from app.engine.client_handler import Call
from app.engine.local_grid import LocalGrid
from app.results import BaselineAccuracies
from client.runtime import ClientRuntime
from client.trainer import settings_of, train
from constellation.names import client_id_of
from shared.config import RunConfig
from shared.datasets.client_data import ClientData
from shared.datasets.federated import FederatedData
from shared.errors import UsageError
from shared.evaluation import batches_of, evaluate
from shared.records import from_array_record

BASELINE_CALL = "baseline"
MAX_CLIENTS = 20  # that train alone: enough for a mean, and a run of 10,000 clients still ends
_POOLED = -1  # instead of a partition id
_PARTITION = struct.Struct(">q")
_ACCURACY = struct.Struct(">d")
_BASELINE_STREAM = 2  # the run's seed feeds several generators; each has its number


def check_measurable(data: FederatedData) -> None:
    """Check that baselines can be measured on this data.

    Raises:
        UsageError: The data has no central test set.
    """
    if data.central_test is None:
        raise UsageError("baselines need a central test set, which this dataset does not have; run without --baselines")


def measure_baselines(
    grid: LocalGrid, config: RunConfig, data: FederatedData, initial: ArrayRecord
) -> BaselineAccuracies:
    """Train the baselines on the grid's workers.

    Raises:
        UsageError: The data has no central test set.
    """
    check_measurable(data)
    step = -(-config.num_clients // MAX_CLIENTS)
    partitions = [_POOLED, *range(0, config.num_clients, step)]
    answers = grid.call_workers(
        BASELINE_CALL, [_PARTITION.pack(partition) for partition in partitions], RecordDict({"": initial})
    )
    accuracies = [_ACCURACY.unpack(answer)[0] for answer in answers]
    local_only = dict(zip(partitions[1:], accuracies[1:], strict=True))
    return BaselineAccuracies(
        centralised=accuracies[0],
        local_only=local_only,
        local_by_client={client_id_of(partition): accuracy for partition, accuracy in local_only.items()},
    )


def baseline_call(runtime: ClientRuntime) -> Call:
    """Make the workers' side: train on one client's data, or on everybody's, and evaluate."""

    def baseline(arguments: bytes, payload: RecordDict) -> bytes:
        (partition,) = _PARTITION.unpack(arguments)
        data = runtime.data.pooled() if partition == _POOLED else runtime.data.client(partition)
        runtime.model.load(from_array_record(payload.array_records[""]))
        return _ACCURACY.pack(_train_alone(runtime, data, partition))

    return baseline


def _train_alone(runtime: ClientRuntime, data: ClientData, partition: int) -> float:
    model, settings = runtime.model.module, settings_of(runtime.config)
    for server_round in range(1, runtime.config.num_rounds + 1):
        rng = np.random.default_rng([runtime.config.seed, _BASELINE_STREAM, server_round, partition + 1])
        train(model, data, settings, rng)
    central = runtime.data.central_test
    if central is None:
        raise UsageError("baselines need a central test set")
    return evaluate(model, batches_of(*central)).accuracy
