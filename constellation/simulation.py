"""A federation on this machine: data in memory, clients in worker processes, evaluation spread over them."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from flwr.app import ArrayRecord, RecordDict
from flwr.clientapp.typing import Mod
from torch import nn

from app.engine.client_handler import Call, ClientHandler
from app.engine.local_grid import LocalGrid, Nodes
from app.engine.rounds import Evaluate
from app.engine.worker import Handler
from app.engine.worker_pool import WorkerPool, num_cores
from app.engine.zygote import Spawner, SpawnTarget, WorkerSource, Zygote
from app.initial_model import load_initial_model
from client.client_app import build_client_app
from client.poisoned_data import poisoned_data
from client.privacy.clipping import make_clipper
from client.privacy.place import simulated_private_data
from client.runtime import ClientRuntime
from constellation import folders
from constellation.baselines import BASELINE_CALL, baseline_call
from constellation.names import client_id_of
from shared.config import RunConfig, Scalar, from_mapping
from shared.datasets.federated import FederatedData, federate
from shared.evaluation import EVALUATION_BATCH_SIZE, Metrics, batches_of, evaluate, merge_metrics
from shared.models.catalog import build_model, check_answer
from shared.models.device import choose_device, tune_allocator
from shared.models.resident import ResidentModel
from shared.plugins import is_plugin
from shared.privacy.accounting import preload
from shared.privacy.history import resolve_delta
from shared.privacy.models import check_separable
from shared.records import from_array_record, to_array_record

_EVALUATE_CALL = "evaluate"
_RANGE = struct.Struct(">QQ")  # first and last+1 index of a shard of the test set
_METRICS = struct.Struct(">dQQ")  # loss sum, correct, examples


def num_workers_of(config: RunConfig) -> int:
    """Return how many worker processes to run: as many as asked for, or one a core this process may use."""
    return config.workers or num_cores()


def client_handler(config: RunConfig, data: FederatedData, mods: list[Mod], run_dir: Path) -> ClientHandler:
    """Make what a worker process runs: the ClientApp on messages, and shards of the central evaluation."""
    torch.set_num_threads(1)  # as many processes as cores: a second thread each would only get in the way
    tune_allocator()
    runtime = ClientRuntime(config, data, alter=poisoned_data(config, data.num_classes, data.input_shape))
    calls: Mapping[str, Call] = {
        _EVALUATE_CALL: _evaluate_shard(runtime),
        BASELINE_CALL: baseline_call(runtime),
    }
    private_data_of = simulated_private_data(run_dir / folders.PRIVACY_FOLDER, run_dir.name)
    app = build_client_app(runtime, mods, private_data_of)
    return ClientHandler(app=app, run_config=config.as_flat(), calls=calls, decoded={})


def spawned_handler(settings: Mapping[str, Scalar], run_dir: str) -> Handler:
    """Make the same in a new interpreter, which shares nothing with the one that asks."""
    from constellation.client_mods import mods_of

    config = from_mapping(settings, where="the parent's settings")
    return client_handler(config, federate(config), mods_of(config), Path(run_dir))


def start_grid(config: RunConfig, data: FederatedData, mods: list[Mod], run_dir: Path) -> LocalGrid:
    """Start the workers and the grid over them. Call this before the process starts threads.

    Args:
        config: The run's settings.
        data: Everybody's data.
        mods: What stands around the simulated clients' app.
        run_dir: The run's folder, which need not be there yet.
    """
    if config.dp:
        preload()
    nodes = Nodes(
        count=data.num_clients,
        config_of=lambda index: {
            "partition-id": index,
            "num-partitions": data.num_clients,
            "client-id": client_id_of(index),
        },
        cost_of=lambda index: float(data.num_examples(index)),
    )
    source: WorkerSource
    if can_fork(config):
        source = Zygote(lambda: client_handler(config, data, mods, run_dir))
    else:
        target = SpawnTarget(
            name="constellation.simulation:spawned_handler",
            settings={"settings": config.as_flat(), "run_dir": str(run_dir)},
        )
        source = Spawner(target)
    return LocalGrid(WorkerPool(source, num_workers_of(config)), nodes)


def can_fork(config: RunConfig) -> bool:
    """Tell whether workers may be forked: not where an accelerator is used, whose context no fork survives."""
    uses_cuda = bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
    return hasattr(os, "fork") and choose_device(config.device).type == "cpu" and not uses_cuda


def initial_arrays(config: RunConfig, data: FederatedData) -> ArrayRecord:
    """Build the initial global model, one that can take the data; the same seed gives the same one.

    Raises:
        ConfigError: ``initial-model`` names no model of this kind, or it cannot be trained privately as asked.
    """
    module = build_model(config.model, data.input_shape, data.num_classes, config.seed, private=config.dp)
    if config.dp:
        check_privacy(config, data, module)
    fresh = ResidentModel(module, torch.device("cpu")).snapshot()
    arrays = to_array_record(load_initial_model(config.initial_model, fresh) if config.initial_model else fresh)
    if is_plugin(config.model) and data.central_test is not None:
        check_answer(module, config.model, data.central_test[0][:2], data.num_classes)
    return arrays


def check_privacy(config: RunConfig, data: FederatedData, module: nn.Module) -> None:
    """Refuse, before anything is written, what no client could train privately.

    Raises:
        ConfigError: delta is too large for the smallest client, or the model mixes examples.
    """
    resolve_delta(config.delta, min(data.num_examples(partition) for partition in range(data.num_clients)))
    check_separable(module)
    make_clipper(module, config.max_grad_norm).close()


def central_evaluation(grid: LocalGrid, data: FederatedData, config: RunConfig) -> Evaluate | None:
    """Return a function that evaluates the global model on the central test set, split over the workers."""
    if data.central_test is None:
        return None
    num_examples = len(data.central_test[1])
    shards = [_RANGE.pack(*bounds) for bounds in _shards(num_examples, num_workers_of(config))]

    def evaluate_centrally(_: int, arrays: ArrayRecord) -> dict[str, float]:
        answers = grid.call_workers(_EVALUATE_CALL, shards, RecordDict({"": arrays}))
        metrics = merge_metrics(_unpack_metrics(answer) for answer in answers)
        return {"loss": metrics.loss, "accuracy": metrics.accuracy}

    return evaluate_centrally


def _shards(num_examples: int, num_workers: int) -> list[tuple[int, int]]:
    """Cut a test set into one shard a worker, of whole batches where that is possible."""
    num_batches = -(-num_examples // EVALUATION_BATCH_SIZE)
    bounds = [
        min(num_examples, num_batches * worker // num_workers * EVALUATION_BATCH_SIZE)
        for worker in range(num_workers + 1)
    ]
    return [(first, last) for first, last in itertools.pairwise(bounds) if last > first]


def _evaluate_shard(runtime: ClientRuntime) -> Call:
    def evaluate_shard(arguments: bytes, payload: RecordDict) -> bytes:
        first, last = _RANGE.unpack(arguments)
        inputs, labels = cast("tuple[torch.Tensor, torch.Tensor]", runtime.data.central_test)
        runtime.model.load(from_array_record(payload.array_records[""]))
        metrics = evaluate(runtime.model.module, batches_of(inputs[first:last], labels[first:last]))
        return _METRICS.pack(metrics.loss_sum, metrics.num_correct, metrics.num_examples)

    return evaluate_shard


def _unpack_metrics(answer: bytes) -> Metrics:
    loss_sum, num_correct, num_examples = _METRICS.unpack(answer)
    return Metrics(loss_sum=loss_sum, num_correct=num_correct, num_examples=num_examples)
