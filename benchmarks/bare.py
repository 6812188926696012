"""The yardstick: federated averaging as one would write it in plain PyTorch, without any framework.

One process, one thread, the network as an ``nn.Sequential``, ``torch.optim.SGD``, data in memory as float tensors, each
epoch's batches indexed at once. It makes the very steps of a federation of the same settings: the same partition, the
same clients in each round, the same batches, the same weighted mean, an evaluation of the whole test set each round.

It is not handicapped: one resident model is reset by copying, one optimizer is kept, and the evaluation's batch size
is what was fastest for this network (``python -m benchmarks.step`` shows it). Timed are the rounds, after a warm-up.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.config import RunConfig
from shared.datasets.catalog import load_dataset
from shared.datasets.dataset import Dataset
from shared.datasets.partition import partition_indices
from shared.models.catalog import build_model

EVALUATION_BATCH_SIZE = 100  # the plain network's best; 500 takes it half as long again or twice as long


@dataclass(frozen=True, slots=True, kw_only=True)
class BareResult:
    """What the loop came to."""

    seconds: float  # wall time of all rounds
    cpu_seconds: float
    steps: int
    final_loss: float  # mean cross-entropy on the test set
    final_accuracy: float
    parameter_norm: float  # L2 norm of the final global model


@dataclass(frozen=True, slots=True, kw_only=True)
class InMemory:
    """Everybody's data as float tensors, and who has which of it."""

    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    indices: list[NDArray[np.int64]]  # by client


def plain_cnn(input_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """Build the network of ``model = "cnn"`` in the usual way; its parameters come in the same order."""
    channels, height, width = input_shape
    left = 32 * (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2)
    return nn.Sequential(
        *(nn.Conv2d(channels, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(left, 64), nn.ReLU(), nn.Linear(64, num_classes)),
    )


def run_bare(
    config: RunConfig, cohorts: Sequence[Sequence[int]], evaluation_batch_size: int = EVALUATION_BATCH_SIZE
) -> BareResult:
    """Train for as many rounds as there are cohorts.

    Args:
        config: The federation's settings. fedavg, sgd and local epochs on the model cnn are what this loop knows.
        cohorts: For each round the partition ids that train in it.
        evaluation_batch_size: By default what is fastest for the plain network.

    Raises:
        ValueError: The settings ask for something else.
    """
    _refuse_other_settings(config)
    dataset = load_dataset(config)
    if not isinstance(dataset, Dataset):
        raise ValueError("the bare loop needs a data set in memory")
    data = in_memory(dataset, config)
    model = plain_cnn(dataset.input_shape, dataset.num_classes)
    initial = build_model(config.model, dataset.input_shape, dataset.num_classes, config.seed)
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), initial.parameters(), strict=True):
            parameter.copy_(value)
    with _one_thread():
        _warm_up(dataset)
        return _train(model, data, config, cohorts, evaluation_batch_size)


def _train(
    model: nn.Sequential,
    data: InMemory,
    config: RunConfig,
    cohorts: Sequence[Sequence[int]],
    evaluation_batch_size: int,
) -> BareResult:
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(
        parameters, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    global_model = [parameter.detach().clone() for parameter in parameters]
    steps, loss, accuracy = 0, 0.0, 0.0
    started, cpu_started = time.perf_counter(), time.process_time()
    for server_round, cohort in enumerate(cohorts, start=1):
        total = sum(len(data.indices[client]) for client in cohort)
        mean = [torch.zeros_like(value) for value in global_model]
        for client in sorted(cohort, key=str):  # the server's order, by client id: rounding depends on it
            with torch.no_grad():
                for parameter, value in zip(parameters, global_model, strict=True):
                    parameter.copy_(value)
            optimizer.state.clear()
            rng = np.random.default_rng([config.seed, 1, server_round, client])
            steps += train_client(model, optimizer, data, data.indices[client], config, rng)
            with torch.no_grad():
                for average, parameter in zip(mean, parameters, strict=True):
                    average.add_(parameter * (len(data.indices[client]) / total))
        global_model = mean
        with torch.no_grad():
            for parameter, value in zip(parameters, global_model, strict=True):
                parameter.copy_(value)
        loss, accuracy = evaluate_plain(model, data, evaluation_batch_size)
    return BareResult(
        seconds=time.perf_counter() - started,
        cpu_seconds=time.process_time() - cpu_started,
        steps=steps,
        final_loss=loss,
        final_accuracy=accuracy,
        parameter_norm=float(torch.cat([value.flatten() for value in global_model]).double().norm()),
    )


def train_client(
    model: nn.Sequential,
    optimizer: torch.optim.Optimizer,
    data: InMemory,
    indices: NDArray[np.int64],
    config: RunConfig,
    rng: np.random.Generator,
) -> int:
    """Train one client in place and return its steps."""
    rng.integers(2**63)  # the federation's client draws a seed for dropout first
    steps = 0
    model.train()
    for _ in range(config.local_epochs):
        order = torch.from_numpy(rng.permutation(indices))
        inputs, labels = data.inputs[order], data.labels[order]
        for first in range(0, len(order), config.batch_size):
            optimizer.zero_grad()
            logits = model(inputs[first : first + config.batch_size])
            loss = F.cross_entropy(logits, labels[first : first + config.batch_size])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            steps += 1
    return steps


def evaluate_plain(
    model: nn.Sequential, data: InMemory, batch_size: int = EVALUATION_BATCH_SIZE
) -> tuple[float, float]:
    """Return mean loss and accuracy on the whole test set."""
    loss, correct = 0.0, 0
    model.eval()
    with torch.inference_mode():
        for first in range(0, len(data.test_labels), batch_size):
            labels = data.test_labels[first : first + batch_size]
            logits = model(data.test_inputs[first : first + batch_size])
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            correct += int((logits.argmax(1) == labels).sum())
    return loss / len(data.test_labels), correct / len(data.test_labels)


def in_memory(dataset: Dataset, config: RunConfig) -> InMemory:
    """Put a data set into memory, spread as the federation spreads it."""
    inputs, labels = dataset.train.everything()
    test_inputs, test_labels = dataset.test.everything()
    rng = np.random.default_rng([config.seed, 0])
    partition = partition_indices(config, labels.numpy(), dataset.num_classes, rng)
    indices = [np.asarray(partition[client]) for client in range(config.num_clients)]
    return InMemory(inputs=inputs, labels=labels, test_inputs=test_inputs, test_labels=test_labels, indices=indices)


def _warm_up(dataset: Dataset) -> None:
    """Let torch import and choose what it does at the first step, before anything is timed."""
    model = plain_cnn(dataset.input_shape, dataset.num_classes)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(torch.zeros(32, *dataset.input_shape)).sum()
        loss.backward()
        optimizer.step()


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _refuse_other_settings(config: RunConfig) -> None:
    known = {
        "strategy": "fedavg",
        "aggregation": "",
        "model": "cnn",
        "optimizer": "sgd",
        "local_steps": 0,
        "proximal_mu": 0.0,
        "max_client_weight": 0.0,
        "fraction_evaluate": 0.0,
        "attack": (),
    }
    for name, value in known.items():
        if getattr(config, name) != value:
            raise ValueError(f"the bare loop knows {name} {value!r} only, got {getattr(config, name)!r}")
