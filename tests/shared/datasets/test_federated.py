"""The federation: what clients, the engine and the report are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from shared.config import RunConfig
from shared.datasets.federated import federate, federate_dataset
from shared.datasets.mnist_sample import load_mnist_sample
from shared.errors import DatasetError


def test_the_default_federation_is_the_packaged_digits() -> None:
    data = federate(RunConfig())
    assert (data.name, data.input_shape, data.num_classes, data.num_clients) == ("mnist-sample", (1, 28, 28), 10, 3)
    assert data.class_names == tuple("0123456789")
    assert sum(data.num_examples(i) for i in range(3)) == 8_000
    assert data.central_test is not None
    inputs, labels = data.central_test
    assert (inputs.shape, inputs.dtype, labels.shape) == ((2_000, 1, 28, 28), torch.float32, (2_000,))


def test_histograms_add_up_to_the_whole_data_set() -> None:
    data = federate(RunConfig(num_clients=7))
    counts = np.array([data.histogram(i) for i in range(7)])
    labels = load_mnist_sample(RunConfig()).train_labels.tolist()
    assert counts.sum(axis=0).tolist() == [labels.count(label) for label in range(10)]
    assert counts.sum(axis=1).tolist() == [data.num_examples(i) for i in range(7)]
    assert all(type(count) is int for count in data.histogram(0))


def test_clients_test_sets_add_up_to_the_central_one() -> None:
    data = federate(RunConfig(num_clients=7))
    labels = [label for i in range(7) for _, batch in data.client(i).test_batches(500) for label in batch.tolist()]
    assert data.central_test is not None
    assert sorted(labels) == sorted(data.central_test[1].tolist())


def test_a_clients_batches_hold_its_histogram() -> None:
    data = federate(RunConfig())
    labels = torch.cat([labels for _, labels in data.client(1).train_batches(64, np.random.default_rng(0))])
    assert torch.bincount(labels, minlength=10).tolist() == data.histogram(1)


def test_the_same_seed_gives_the_same_federation() -> None:
    one, same, other = (federate(RunConfig(seed=seed)) for seed in (1, 1, 2))
    assert one.histogram(0) == same.histogram(0) != other.histogram(0)


def test_pooled_data_is_everybodys() -> None:
    pooled = federate(RunConfig(num_clients=5)).pooled()
    assert (pooled.num_examples, pooled.num_test_examples) == (8_000, 2_000)
    labels = torch.cat([labels for _, labels in pooled.train_batches(1_000, np.random.default_rng(0))])
    assert len(labels) == 8_000


@pytest.mark.parametrize("partition_id", [-1, 3])
def test_a_partition_id_outside_the_federation_is_refused(partition_id: int) -> None:
    data = federate(RunConfig())
    for ask in (data.client, data.histogram, data.num_examples):
        with pytest.raises(DatasetError, match=rf"partition-id {partition_id} is not in 0\.\.2"):
            ask(partition_id)


def test_too_many_clients_are_refused() -> None:
    with pytest.raises(DatasetError, match="num-clients 8001 is more than the 8000 training examples"):
        federate(RunConfig(num_clients=8_001))


def test_ten_thousand_clients_share_one_copy_of_the_data() -> None:
    config = RunConfig(dataset="synthetic", num_examples=20_000, num_clients=10_000, partition="iid")
    data = federate(config)
    clients = [data.client(i) for i in range(10_000)]
    assert {client.num_examples for client in clients} == {2}
    few = federate(RunConfig(dataset="synthetic", num_examples=20_000, num_clients=2, partition="iid"))
    assert few.num_examples(0) == 10_000


def test_loading_and_spreading_start_no_torch_thread() -> None:
    """Workers are forked afterwards: a thread pool started in the parent would hang in them."""
    before = num_threads()
    federate_dataset(load_mnist_sample(RunConfig()), RunConfig(num_clients=100)).client(0)
    assert num_threads() <= before


def num_threads() -> int:
    """Count this process's threads, those of C libraries included; where /proc is not to be had, nothing."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 0
