"""What one client trains and tests on: batches of tensors, an epoch at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared.datasets.dataset import Examples

# Bytes of float inputs gathered at once: far above a batch, so that gathering costs nothing by the step, and far below
# a whole data set, so that a client that owns everything does not double its memory.
_GATHER_BYTES = 4 * 1024 * 1024


class ClientData(Protocol):
    """One client's share of a data set."""

    @property
    def num_examples(self) -> int:
        """How many training examples the client has."""
        ...

    @property
    def num_test_examples(self) -> int:
        """How many test examples the client has; may be 0."""
        ...

    def train_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch, shuffled by ``rng``: inputs float32 (b, *input_shape) and labels int64 (b,)."""
        ...

    def test_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the test examples once, always in the same order."""
        ...


@runtime_checkable
class PicksExamples(Protocol):
    """Client data that gives any of its training examples by position, as sampling for privacy wants them."""

    def pick(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return the examples at these positions, 0 to num_examples - 1."""
        ...


class TensorClientData:
    """A client's share of a data set in memory, named by indices into it: nothing is copied until batches are drawn."""

    def __init__(
        self,
        train: Examples,
        train_indices: NDArray[np.int64],
        test: Examples,
        test_indices: NDArray[np.int64],
    ) -> None:
        """Take the whole data set and the client's indices into it."""
        self._train = train
        self._train_indices = train_indices
        self._test = test
        self._test_indices = test_indices

    @property
    def num_examples(self) -> int:
        """How many training examples the client has."""
        return len(self._train_indices)

    @property
    def num_test_examples(self) -> int:
        """How many test examples the client has; may be 0."""
        return len(self._test_indices)

    def train_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch, shuffled by ``rng``; the last batch holds what is left."""
        yield from _batches(self._train, rng.permutation(self._train_indices), batch_size)

    def pick(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return the training examples at these positions."""
        return self._train.take(self._train_indices[positions])

    def test_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the test examples once, in the order of the data set."""
        yield from _batches(self._test, self._test_indices, batch_size)


def _batches(examples: Examples, indices: NDArray[np.int64], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Gather a block of whole batches at a time and yield views of it."""
    floats_each = math.prod(examples.inputs.shape[1:])
    block = max(1, _GATHER_BYTES // (4 * floats_each * batch_size)) * batch_size
    for start in range(0, len(indices), block):
        inputs, labels = examples.take(indices[start : start + block])
        for first in range(0, len(labels), batch_size):
            yield inputs[first : first + batch_size], labels[first : first + batch_size]
