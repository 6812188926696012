"""A data set spread over clients: the one thing the engine, the clients and the report ask for data."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from torch import Tensor

from shared.config import RunConfig
from shared.datasets.catalog import load_dataset
from shared.datasets.client_data import ClientData, TensorClientData
from shared.datasets.dataset import Dataset, Normalization
from shared.datasets.loaders import LoaderFederation
from shared.datasets.partition import Partition, partition_indices, split_like
from shared.datasets.plugin_source import LoaderSource
from shared.errors import DatasetError

_PARTITION_STREAM = 0  # the run's seed feeds several generators; each has its number


class FederatedData(Protocol):
    """A data set spread over clients.

    Attributes:
        name: The data set's name.
        input_shape: Of one input, without the batch.
        class_names: One name a class.
        num_classes: How many classes there are.
        num_clients: How many clients there are; partition ids are 0..num_clients-1.
        normalization: How an image of bytes becomes an input, where the data set knows.
        central_test: All test inputs, float32 (n, *input_shape), and labels, int64 (n,), where there is a central set.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - the class docstring says it

    @property
    def input_shape(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def class_names(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def num_classes(self) -> int: ...  # noqa: D102

    @property
    def num_clients(self) -> int: ...  # noqa: D102

    @property
    def normalization(self) -> Normalization | None: ...  # noqa: D102

    @property
    def central_test(self) -> tuple[Tensor, Tensor] | None: ...  # noqa: D102

    def num_examples(self, partition_id: int) -> int:
        """Return how many training examples a client has."""
        ...

    def histogram(self, partition_id: int) -> list[int]:
        """Return a client's training examples by class."""
        ...

    def client(self, partition_id: int) -> ClientData:
        """Return a client's data; cheap, and nothing is kept."""
        ...

    def pooled(self) -> ClientData:
        """Return everybody's data as one client's: what a centralised baseline trains on."""
        ...


class TensorFederation:
    """A data set in memory and one array of indices a split: the same memory for 10 clients and for 10,000."""

    def __init__(self, dataset: Dataset, train: Partition, test: Partition) -> None:
        """Take a data set and its partitions; the central test set is made float here, before workers fork."""
        self._dataset = dataset
        self._train = train
        self._test = test
        self._central_test = dataset.test.everything()

    @property
    def name(self) -> str:
        """The data set's name."""
        return self._dataset.name

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self._dataset.input_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class."""
        return self._dataset.class_names

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return self._dataset.num_classes

    @property
    def num_clients(self) -> int:
        """How many clients there are."""
        return len(self._train)

    @property
    def normalization(self) -> Normalization | None:
        """How an image of bytes becomes an input."""
        return self._dataset.normalization

    @property
    def central_test(self) -> tuple[Tensor, Tensor] | None:
        """All test inputs and labels."""
        return self._central_test

    def num_examples(self, partition_id: int) -> int:
        """Return how many training examples a client has."""
        check_partition_id(partition_id, self.num_clients)
        return len(self._train[partition_id])

    def histogram(self, partition_id: int) -> list[int]:
        """Return a client's training examples by class."""
        check_partition_id(partition_id, self.num_clients)
        labels = self._dataset.train.labels[self._train[partition_id]]
        return [int(count) for count in np.bincount(labels, minlength=self.num_classes)]

    def client(self, partition_id: int) -> ClientData:
        """Return a client's data."""
        check_partition_id(partition_id, self.num_clients)
        data = self._dataset
        return TensorClientData(data.train, self._train[partition_id], data.test, self._test[partition_id])

    def pooled(self) -> ClientData:
        """Return everybody's data as one client's."""
        data = self._dataset
        return TensorClientData(data.train, np.arange(len(data.train)), data.test, np.arange(len(data.test)))


def federate(config: RunConfig) -> FederatedData:
    """Load ``config.dataset`` and spread it over ``config.num_clients`` clients.

    The same settings and seed give the same federation in every process.

    Raises:
        DatasetError: The data cannot be loaded or is too small for so many clients.
        PluginError: A ``pkg.mod:attr`` is not what a data set must be.
    """
    source = load_dataset(config)
    return LoaderFederation(source, config) if isinstance(source, LoaderSource) else federate_dataset(source, config)


def federate_dataset(dataset: Dataset, config: RunConfig) -> TensorFederation:
    """Spread a data set that is already loaded.

    Raises:
        DatasetError: It is too small for so many clients.
    """
    rng = np.random.default_rng([config.seed, _PARTITION_STREAM])
    labels = dataset.train.labels
    train = partition_indices(config, labels, dataset.num_classes, rng)
    return TensorFederation(dataset, train, split_like(train, labels, dataset.test.labels, dataset.num_classes))


def check_partition_id(partition_id: int, num_clients: int) -> None:
    """Refuse a partition id that the federation does not have.

    Raises:
        DatasetError: Names the id and the range.
    """
    if not 0 <= partition_id < num_clients:
        raise DatasetError(
            f"partition-id {partition_id} is not in 0..{num_clients - 1}; "
            "give every node num-partitions equal to num-clients and a partition-id below it"
        )
