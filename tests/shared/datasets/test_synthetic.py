"""Images made from the seed."""

from __future__ import annotations

import pytest
import torch

from shared.config import RunConfig
from shared.datasets.synthetic import load_synthetic
from shared.errors import DatasetError


def test_the_seed_and_the_number_decide_the_images() -> None:
    def images(**settings: int) -> torch.Tensor:
        return load_synthetic(RunConfig(num_examples=200, **settings)).train_inputs

    assert torch.equal(images(seed=1), images(seed=1))
    assert not torch.equal(images(seed=1), images(seed=2))


@pytest.mark.parametrize(
    ("num_examples", "num_test"), [(1, 10), (100, 20), (1_000, 200), (10_000, 2_000), (20_000, 2_000)]
)
def test_there_are_as_many_as_asked_for_and_a_test_set(num_examples: int, num_test: int) -> None:
    data = load_synthetic(RunConfig(num_examples=num_examples))
    assert data.train_inputs.shape == (num_examples, 1, 28, 28)
    assert len(data.test_labels) == num_test
    assert data.num_classes == 10


def test_an_image_takes_a_byte_a_pixel() -> None:
    assert load_synthetic(RunConfig(num_examples=10)).train_inputs.dtype == torch.uint8


def test_classes_are_as_frequent_as_each_other() -> None:
    assert torch.bincount(load_synthetic(RunConfig(num_examples=1_000)).train_labels).tolist() == [100] * 10


def test_the_classes_can_be_learned_and_not_from_one_example() -> None:
    """The nearest class mean over many examples is nearly always right; the nearest single example is not."""
    data = load_synthetic(RunConfig(num_examples=2_000))
    train, labels = data.train.everything()
    test, expected = data.test.everything()
    flat = train.flatten(1)

    def accuracy(centres: torch.Tensor) -> float:
        return float((torch.cdist(test.flatten(1), centres).argmin(dim=1) == expected).float().mean())

    means = torch.stack([flat[labels == c].mean(dim=0) for c in range(10)])
    singles = torch.stack([flat[labels == c][0] for c in range(10)])
    assert accuracy(means) > 0.95
    assert accuracy(singles) < accuracy(means)


def test_the_inputs_lie_around_zero() -> None:
    inputs, _ = load_synthetic(RunConfig(num_examples=1_000)).train.everything()
    assert abs(float(inputs.mean())) < 0.2
    assert 0.5 < float(inputs.std()) < 1.5


def test_more_than_the_machine_holds_is_refused_in_one_sentence() -> None:
    with pytest.raises(DatasetError, match=r"num-examples 1000000000000000 synthetic images do not fit into memory"):
        load_synthetic(RunConfig(num_examples=10**15))
