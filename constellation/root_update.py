"""The server's own update, for rules that compare the clients' with it (FLTrust)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from app.strategies.aggregation_override import TrustedUpdate
from client.trainer import settings_of, train
from shared.config import RunConfig
from shared.datasets.client_data import ClientData
from shared.datasets.federated import FederatedData
from shared.models.catalog import build_model
from shared.models.resident import ResidentModel
from shared.parameters import AnyArray, Arrays

ROOT_EXAMPLES = 100  # as in Cao et al., NDSS 2021, section VI-A
_ROOT_STREAM = 4  # the run's seed feeds several generators; each has its number


class RootData:
    """A few clean examples of everybody's, which the server is taken to have gathered itself."""

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        """Keep the examples."""
        self._inputs = inputs
        self._labels = labels

    @property
    def num_examples(self) -> int:
        """How many training examples there are."""
        return len(self._labels)

    @property
    def num_test_examples(self) -> int:
        """None: the root data set is for training."""
        return 0

    def train_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch, shuffled by ``rng``."""
        order = torch.from_numpy(rng.permutation(self.num_examples))
        for chosen in torch.split(order, batch_size):
            yield self._inputs[chosen], self._labels[chosen]

    def test_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:  # noqa: ARG002 - there is none
        """Yield nothing."""
        return iter(())


def trusted_update(config: RunConfig, data: FederatedData) -> TrustedUpdate:
    """Return the function that trains the global model on the root data set, as a client would."""
    root = root_data(data.pooled(), config.seed)
    module = build_model(config.model, data.input_shape, data.num_classes, config.seed, private=config.dp)
    model = ResidentModel(module, torch.device("cpu"))

    def update(server_round: int, arrays: Arrays) -> dict[str, AnyArray]:
        model.load(arrays)
        train(model.module, root, settings_of(config), np.random.default_rng([config.seed, _ROOT_STREAM, server_round]))
        return model.snapshot()

    return update


def root_data(everybody: ClientData, seed: int) -> RootData:
    """Draw the root examples uniformly from all training examples."""
    batches = everybody.train_batches(ROOT_EXAMPLES, np.random.default_rng([seed, _ROOT_STREAM]))
    return RootData(*next(batches))
