"""Flower's own simulation on Ray doing the same steps, in the style of Flower's quickstart: for ``benchmarks.rounds``.

Needs the ``ray`` extra. Plain FedAvg, no signatures; each actor keeps the data in memory. Timed are the rounds.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from benchmarks.bare import BareResult, InMemory, evaluate_plain, in_memory, plain_cnn, train_client
from shared.config import RunConfig, from_mapping
from shared.datasets.catalog import load_dataset
from shared.datasets.dataset import Dataset
from shared.models.catalog import build_model


def is_installed() -> bool:
    """Tell whether Ray is there."""
    return importlib.util.find_spec("ray") is not None


@lru_cache(maxsize=1)
def _loaded(settings: tuple[tuple[str, object], ...]) -> tuple[RunConfig, Dataset, InMemory]:
    torch.set_num_threads(1)
    config = from_mapping(dict(settings), where="the benchmark")
    dataset = load_dataset(config)
    if not isinstance(dataset, Dataset):
        raise TypeError("the benchmark needs a data set in memory")
    return config, dataset, in_memory(dataset, config)


def client_app(config: RunConfig) -> ClientApp:
    """Build a ClientApp as one would in plain PyTorch."""
    settings = tuple(config.as_flat().items())
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        settled, dataset, data = _loaded(settings)
        model = plain_cnn(dataset.input_shape, dataset.num_classes)
        model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
        client = int(context.node_config["partition-id"])
        server_round = int(message.content.config_records["config"]["server-round"])  # type: ignore[arg-type]
        optimizer = torch.optim.SGD(model.parameters(), lr=settled.learning_rate, momentum=settled.momentum)
        rng = np.random.default_rng([settled.seed, 1, server_round, client])
        steps = train_client(model, optimizer, data, data.indices[client], settled, rng)
        metrics = MetricRecord({"num-examples": len(data.indices[client]), "steps": steps})
        content = RecordDict({"arrays": ArrayRecord(model.state_dict()), "metrics": metrics})
        return Message(content, reply_to=message)

    @app.query()
    def query(message: Message, context: Context) -> Message:
        _loaded(settings)  # in memory before anything is timed
        metrics = MetricRecord({"partition-id": int(context.node_config["partition-id"])})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


class _Cohorts(FedAvg):
    """FedAvg that asks the given clients, and adds their replies in the order of their names as we do."""

    def __init__(self, cohorts: Sequence[Sequence[int]], nodes: dict[int, int]) -> None:
        super().__init__(fraction_evaluate=0.0)
        self._cohorts = cohorts
        self._nodes = nodes
        self._names = {node: str(partition) for partition, node in nodes.items()}
        self.steps = 0
        self.started = 0.0

    def configure_train(
        self,
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,
        grid: Grid,  # noqa: ARG002
    ) -> Iterable[Message]:
        """Ask this round's clients."""
        self.started = self.started or time.perf_counter()
        config["server-round"] = server_round
        record = RecordDict({"arrays": arrays, "config": config})
        return [Message(record, self._nodes[client], "train") for client in self._cohorts[server_round - 1]]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Count steps, and aggregate."""
        ordered = sorted(replies, key=lambda reply: self._names[reply.metadata.src_node_id])
        for reply in ordered:
            self.steps += int(reply.content.metric_records["metrics"]["steps"])  # type: ignore[arg-type]
        return super().aggregate_train(server_round, ordered)


def run_flower(config: RunConfig, cohorts: Sequence[Sequence[int]]) -> BareResult:
    """Run Flower's simulation with one actor a core and return what it came to."""
    from flwr.simulation import run_simulation

    found: list[BareResult] = []
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:  # noqa: ARG001
        found.append(_serve(grid, config, cohorts))

    run_simulation(
        server_app=server,
        client_app=client_app(config),
        num_supernodes=config.num_clients,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": os.cpu_count() or 1, "log_to_driver": False},
        },
    )
    return found[0]


def _serve(grid: Grid, config: RunConfig, cohorts: Sequence[Sequence[int]]) -> BareResult:
    dataset = load_dataset(config)
    if not isinstance(dataset, Dataset):
        raise TypeError("the benchmark needs a data set in memory")
    data = in_memory(dataset, config)
    model = plain_cnn(dataset.input_shape, dataset.num_classes)
    initial = build_model(config.model, dataset.input_shape, dataset.num_classes, config.seed)
    names = list(model.state_dict())
    model.load_state_dict(OrderedDict(zip(names, initial.state_dict().values(), strict=True)))
    asked = [Message(RecordDict(), node, "query") for node in grid.get_node_ids()]
    nodes = {
        int(reply.content.metric_records["metrics"]["partition-id"]): reply.metadata.src_node_id  # type: ignore[arg-type]
        for reply in grid.send_and_receive(asked)
    }
    strategy = _Cohorts(cohorts, nodes)
    last: list[tuple[float, float]] = []

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        if server_round == 0:
            return None
        model.load_state_dict(arrays.to_torch_state_dict())
        last.append(evaluate_plain(model, data))
        return MetricRecord({"loss": last[-1][0]})

    strategy.start(
        grid=grid, initial_arrays=ArrayRecord(model.state_dict()), num_rounds=len(cohorts), evaluate_fn=evaluate
    )
    seconds = time.perf_counter() - strategy.started
    norm = torch.cat([value.flatten() for value in model.state_dict().values()]).double().norm()
    return BareResult(
        seconds=seconds,
        cpu_seconds=0.0,
        steps=strategy.steps,
        final_loss=last[-1][0],
        final_accuracy=last[-1][1],
        parameter_norm=float(norm),
    )
