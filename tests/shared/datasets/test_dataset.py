"""The data set in memory: what it refuses, and what it makes of bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from shared.datasets.dataset import Dataset, Normalization
from shared.errors import DatasetError


def parts(**changes: Any) -> dict[str, Any]:
    whole = {
        "name": "tiny",
        "train_inputs": torch.arange(12, dtype=torch.float32).reshape(3, 1, 2, 2),
        "train_labels": torch.tensor([0, 1, 1]),
        "test_inputs": torch.ones(1, 1, 2, 2),
        "test_labels": torch.tensor([1]),
        "class_names": ("no", "yes"),
    }
    return {**whole, **changes}


def as_bytes(**changes: Any) -> dict[str, Any]:
    return parts(
        train_inputs=torch.arange(12, dtype=torch.uint8).reshape(3, 1, 2, 2),
        test_inputs=torch.full((1, 1, 2, 2), 255, dtype=torch.uint8),
        **{"normalization": Normalization(mean=(0.5,), std=(0.25,)), **changes},
    )


def test_shape_and_classes_are_found_from_the_data() -> None:
    data = Dataset(**parts())
    assert (data.input_shape, data.num_classes, len(data.train), len(data.test)) == ((1, 2, 2), 2, 3, 1)


def test_float_examples_are_gathered_by_index() -> None:
    inputs, labels = Dataset(**parts()).train.take(np.array([2, 0]))
    assert inputs.dtype == torch.float32
    assert inputs.flatten().tolist() == [8, 9, 10, 11, 0, 1, 2, 3]
    assert labels.tolist() == [1, 0]


def test_gathered_examples_are_copies() -> None:
    data = Dataset(**parts())
    inputs, labels = data.train.take(np.array([0]))
    inputs.fill_(-1)
    labels.fill_(1)
    assert data.train_inputs.min() == 0
    assert data.train_labels[0] == 0


def test_bytes_become_normalised_floats() -> None:
    """(255/255 - 0.5) / 0.25 = 2 and (0/255 - 0.5) / 0.25 = -2."""
    data = Dataset(**as_bytes())
    assert data.train_inputs.dtype == torch.uint8, "one byte a pixel is kept"
    inputs, _ = data.test.everything()
    assert inputs.dtype == torch.float32
    np.testing.assert_allclose(inputs.numpy(), 2.0, rtol=1e-6)
    assert data.train.take(np.array([0]))[0][0, 0, 0, 0] == -2.0


def test_normalization_is_by_channel() -> None:
    images = np.array([[[[255]], [[51]]]], dtype=np.uint8)  # 1 and 0.2
    found = Normalization(mean=(0.5, 0.1), std=(0.5, 0.2)).apply(images)
    np.testing.assert_allclose(found.ravel(), [1.0, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((), ()),
        ((0.1,), (0.1, 0.2)),
        ((0.1,), (0.0,)),
        ((0.1,), (-1.0,)),
        ((float("nan"),), (1.0,)),
        ((0.0,), (float("inf"),)),
    ],
)
def test_a_normalization_that_cannot_be_applied_is_refused(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(DatasetError, match="one finite mean and one positive std a channel"):
        Normalization(mean=mean, std=std)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"class_names": ("only",)}, "at least 2 classes are needed"),
        (
            {"train_inputs": np.ones((3, 1, 2, 2))},
            "training inputs must be a plain torch tensor on the CPU, got ndarray",
        ),
        ({"train_inputs": torch.ones(3, 1, 2, 2, requires_grad=True)}, "plain torch tensor"),
        ({"train_inputs": torch.ones(3, 1, 2, 2, dtype=torch.float64)}, "one shape and dtype"),
        ({"train_inputs": torch.ones(2, 1, 2, 2)}, r"got float32 \(2, 1, 2, 2\) for 3 labels"),
        ({"train_inputs": torch.ones(0, 1, 2, 2), "train_labels": torch.zeros(0, dtype=torch.int64)}, "n >= 1"),
        ({"train_inputs": torch.ones(3)}, r"must be \(n, ...\)"),
        ({"test_inputs": torch.ones(1, 1, 3, 3)}, "one shape and dtype"),
        ({"test_inputs": torch.ones(0, 1, 2, 2), "test_labels": torch.zeros(0, dtype=torch.int64)}, "test inputs"),
        ({"train_labels": torch.tensor([0.0, 1.0, 1.0])}, r"labels must be int64 of shape \(n,\), got float32"),
        ({"train_labels": torch.tensor([[0], [1], [1]])}, "labels must be int64 of shape"),
        ({"train_labels": torch.tensor([0, 1, 2])}, r"labels must lie in 0..1 for the 2 class names, got 0..2"),
        ({"test_labels": torch.tensor([-1])}, r"test labels must lie in 0..1"),
        ({"train_inputs": torch.full((3, 1, 2, 2), float("nan"))}, "training inputs hold NaN or infinity"),
        ({"test_inputs": torch.full((1, 1, 2, 2), float("inf"))}, "test inputs hold NaN or infinity"),
        ({"normalization": Normalization(mean=(0.0,), std=(1.0,))}, "float32 inputs need none"),
    ],
)
def test_a_malformed_data_set_is_refused_in_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence) as caught:
        Dataset(**parts(**changes))
    assert "\n" not in str(caught.value)


def test_bytes_without_a_normalization_are_refused() -> None:
    with pytest.raises(DatasetError, match="uint8 inputs need a normalization"):
        Dataset(**as_bytes(normalization=None))


def test_a_normalization_of_other_channels_is_refused() -> None:
    with pytest.raises(DatasetError, match="a normalization of 2 channels does not fit"):
        Dataset(**as_bytes(normalization=Normalization(mean=(0.0, 0.0), std=(1.0, 1.0))))


def test_other_dtypes_are_refused() -> None:
    doubles = {"train_inputs": torch.ones(3, 1, 2, 2).double(), "test_inputs": torch.ones(1, 1, 2, 2).double()}
    with pytest.raises(DatasetError, match="inputs must be float32 or uint8, got float64"):
        Dataset(**parts(**doubles))
