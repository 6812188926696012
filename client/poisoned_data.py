"""Training data of hostile clients: flipped labels, and pictures with a trigger that open a back door.

Test data stays honest: a liar that scores badly on its own would give itself away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from torch import Tensor

from client.hostile import hostile_clients
from shared.config import RunConfig
from shared.datasets.client_data import ClientData
from shared.errors import ConfigError

TRIGGER_SIDE = 4  # pixels
BACKDOOR_TARGET = 0  # the class that the trigger stands for
POISONED_SHARE = 0.5  # of each batch: the honest half keeps the model good where there is no trigger


def poisoned_data(
    config: RunConfig, num_classes: int, input_shape: tuple[int, ...]
) -> Callable[[int, ClientData], ClientData]:
    """Return the function through which a runtime passes each client's data.

    Raises:
        ConfigError: The data has no room for a trigger.
    """
    hostile = hostile_clients(config)
    if "backdoor" in hostile.values() and (len(input_shape) != 3 or min(input_shape[1:]) < 2 * TRIGGER_SIDE):
        raise ConfigError(f"attack backdoor stamps a trigger on images; the data has the shape {input_shape}")

    def alter(partition_id: int, data: ClientData) -> ClientData:
        attack = hostile.get(f"client-{partition_id}")
        if attack in ("label-flip", "sybil"):
            return FlippedLabels(data, num_classes)
        return Backdoored(data) if attack == "backdoor" else data

    return alter


def stamp(inputs: Tensor) -> Tensor:
    """Return the images with the trigger: a square of the brightest value in the lower right corner.

    Gu et al., 2017 (BadNets, arXiv:1708.06733), section 4.1.

    Args:
        inputs: (batch, channel, height, width); not changed.
    """
    stamped = inputs.clone()
    stamped[:, :, -TRIGGER_SIDE - 1 : -1, -TRIGGER_SIDE - 1 : -1] = inputs.max()
    return stamped


class Backdoored:
    """A client's data with the first half of each training batch stamped and labelled as the target."""

    def __init__(self, inner: ClientData) -> None:
        """Wrap a client's data."""
        self._inner = inner

    @property
    def num_examples(self) -> int:
        """How many training examples the client has."""
        return self._inner.num_examples

    @property
    def num_test_examples(self) -> int:
        """How many test examples the client has."""
        return self._inner.num_test_examples

    def train_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch, half of it with the trigger."""
        for inputs, labels in self._inner.train_batches(batch_size, rng):
            poisoned, targets = inputs.clone(), labels.clone()
            num_poisoned = max(1, int(POISONED_SHARE * len(labels)))
            poisoned[:num_poisoned] = stamp(inputs)[:num_poisoned]
            targets[:num_poisoned] = BACKDOOR_TARGET
            yield poisoned, targets

    def test_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the test examples as they are."""
        return self._inner.test_batches(batch_size)


class FlippedLabels:
    """A client's data with training label y turned into num_classes - 1 - y; its test data is honest."""

    def __init__(self, inner: ClientData, num_classes: int) -> None:
        """Wrap a client's data."""
        self._inner = inner
        self._last_class = num_classes - 1

    @property
    def num_examples(self) -> int:
        """How many training examples the client has."""
        return self._inner.num_examples

    @property
    def num_test_examples(self) -> int:
        """How many test examples the client has."""
        return self._inner.num_test_examples

    def train_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch with flipped labels."""
        for inputs, labels in self._inner.train_batches(batch_size, rng):
            yield inputs, self._last_class - labels

    def test_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the test examples as they are."""
        return self._inner.test_batches(batch_size)
