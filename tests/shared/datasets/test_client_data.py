"""A client's batches: each example once, shuffled by the generator that is passed in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import shared.datasets.client_data as client_data
from shared.datasets.client_data import TensorClientData
from shared.datasets.dataset import Examples

NUM_EXAMPLES = 50


def examples() -> Examples:
    """Input i is [i, i]; label i is i, so that a mix-up shows."""
    numbers = np.arange(NUM_EXAMPLES)
    inputs = np.stack([numbers, numbers], axis=1).astype(np.float32)
    return Examples(inputs=inputs, labels=numbers.astype(np.int64), normalization=None)


def client(indices: list[int], test_indices: list[int] | None = None) -> TensorClientData:
    return TensorClientData(examples(), np.array(indices), examples(), np.array(test_indices or [], dtype=np.int64))


def test_an_epoch_holds_each_example_once_with_its_label() -> None:
    owned = [3, 7, 8, 20, 41]
    batches = list(client(owned).train_batches(2, np.random.default_rng(0)))
    assert [len(labels) for _, labels in batches] == [2, 2, 1]
    labels = torch.cat([labels for _, labels in batches])
    inputs = torch.cat([inputs for inputs, _ in batches])
    assert sorted(labels.tolist()) == owned
    assert inputs[:, 0].tolist() == [float(label) for label in labels]
    assert (inputs.dtype, labels.dtype) == (torch.float32, torch.int64)


def test_the_generator_alone_decides_the_order() -> None:
    data = client(list(range(NUM_EXAMPLES)))

    def order(seed: int) -> list[int]:
        return [int(label) for _, labels in data.train_batches(8, np.random.default_rng(seed)) for label in labels]

    torch.manual_seed(1)
    first = order(5)
    torch.manual_seed(2)
    assert order(5) == first
    assert order(6) != first
    assert first != sorted(first)


def test_two_epochs_of_one_generator_differ() -> None:
    data = client(list(range(NUM_EXAMPLES)))
    rng = np.random.default_rng(0)
    one, two = (torch.cat([labels for _, labels in data.train_batches(8, rng)]).tolist() for _ in range(2))
    assert one != two


@pytest.mark.parametrize("gather_bytes", [1, 64, 100, 10**6])
@pytest.mark.parametrize("batch_size", [1, 7, 50, 64])
def test_batches_do_not_depend_on_how_many_are_gathered_at_once(
    monkeypatch: pytest.MonkeyPatch, gather_bytes: int, batch_size: int
) -> None:
    expected = list(client(list(range(NUM_EXAMPLES))).train_batches(batch_size, np.random.default_rng(0)))
    monkeypatch.setattr(client_data, "_GATHER_BYTES", gather_bytes)
    found = list(client(list(range(NUM_EXAMPLES))).train_batches(batch_size, np.random.default_rng(0)))
    assert [labels.tolist() for _, labels in found] == [labels.tolist() for _, labels in expected]
    assert [inputs.tolist() for inputs, _ in found] == [inputs.tolist() for inputs, _ in expected]


def test_batches_of_a_block_share_its_memory() -> None:
    first, second = list(client([1, 2, 3, 4]).train_batches(2, np.random.default_rng(0)))
    assert first[0].untyped_storage().data_ptr() == second[0].untyped_storage().data_ptr()


def test_test_batches_come_in_order() -> None:
    data = client([1], [9, 4, 6])
    assert data.num_test_examples == 3
    assert [labels.tolist() for _, labels in data.test_batches(2)] == [[9, 4], [6]]


def test_a_client_without_test_examples_yields_no_batch() -> None:
    data = client([1, 2])
    assert (data.num_examples, data.num_test_examples) == (2, 0)
    assert list(data.test_batches(32)) == []
