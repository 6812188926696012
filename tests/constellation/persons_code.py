"""What a person might write: named as ``persons_code:NAME`` in the settings of runs under test."""

import os
import time
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp.strategy import FedAvg
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def normalised_net(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Batch normalisation keeps running statistics and an integer counter; dropout draws."""
    size = int(np.prod(input_shape))
    return nn.Sequential(
        nn.Flatten(), nn.Linear(size, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, num_classes)
    )


def own_loaders(client_id: int, num_clients: int) -> tuple[DataLoader, DataLoader]:  # type: ignore[type-arg]
    """A person's own loaders: no test set that all share."""
    generator = torch.Generator().manual_seed(client_id)
    labels = torch.randint(0, 3, (48,), generator=generator)
    inputs = torch.randn(48, 1, 4, 4, generator=generator) + labels[:, None, None, None]
    data = TensorDataset(inputs, labels)
    return DataLoader(data, batch_size=16, shuffle=True, generator=generator), DataLoader(data, batch_size=16)


_PARENT = os.getpid()


class _Stuck(DataLoader):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[object]:  # type: ignore[override]
        if os.getpid() != _PARENT:  # where labels are counted
            time.sleep(3600)
        return super().__iter__()


def last_client_hangs(client_id: int, num_clients: int) -> tuple[DataLoader, DataLoader]:  # type: ignore[type-arg]
    """The loaders above; the last client's never gives a worker a batch."""
    train, test = own_loaders(client_id, num_clients)
    return (_Stuck(train.dataset, batch_size=16), test) if client_id == num_clients - 1 else (train, test)


class Mistaken(FedAvg):
    """A strategy with a bug."""

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        raise TypeError("a mistake of its author")
