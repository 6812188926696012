"""What the readers of a person's own files share: classes from labels, a test split, and normal ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.datasets.dataset import Normalization
from shared.errors import DatasetError

TEST_SHARE = 0.2
SPLIT_STREAM = 2  # the run's seed feeds several generators; each has its number


def encode_labels(train: NDArray[Any], test: NDArray[Any]) -> tuple[tuple[str, ...], NDArray[Any], NDArray[Any]]:
    """Number the distinct labels of both parts in sorted order.

    Returns:
        The class names and the two parts as int64 class numbers.
    """
    names, numbers = np.unique(np.concatenate([train, test]), return_inverse=True)
    numbers = numbers.reshape(-1).astype(np.int64)
    return tuple(str(name) for name in names), numbers[: len(train)], numbers[len(train) :]


def stratified_split(
    labels: NDArray[np.int64], num_classes: int, seed: int, *, where: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Set a fifth of each class aside for the test, at least one example of a class that has two.

    Args:
        labels: int64 (n,) class numbers.
        num_classes: How many classes there are.
        seed: The run's seed: the same seed splits the same.
        where: What is split, for the error's sentence.

    Returns:
        Training and test indices, each ascending; together every index once.

    Raises:
        DatasetError: No class has two examples.
    """
    rng = np.random.default_rng([seed, SPLIT_STREAM])
    is_test = np.zeros(len(labels), dtype=bool)
    for label in range(num_classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        wanted = max(round(len(members) * TEST_SHARE), 1) if len(members) > 1 else 0
        is_test[members[:wanted]] = True
    if not is_test.any():
        raise DatasetError(f"{where}: no class has two examples, so none can be set aside for the test; add examples")
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def image_normalization(images: NDArray[np.uint8]) -> Normalization:
    """Find each channel's mean and deviation in uint8 (n, c, h, w), exactly: from how often each byte occurs."""
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256, dtype=np.int64)
        for rows in np.array_split(images[:, channel], max(1, len(images) // 1024)):
            counts += np.bincount(rows.reshape(-1), minlength=256)
        shares = counts / counts.sum()
        mean = float(shares @ values)
        means.append(mean)
        # One grey level at the least: a channel without contrast must not divide by zero.
        stds.append(max(float(np.sqrt(shares @ (values - mean) ** 2)), 1 / 255))
    return Normalization(mean=tuple(means), std=tuple(stds))


def standardise(train: NDArray[np.float32], test: NDArray[np.float32], *, axis: tuple[int, ...]) -> None:
    """Bring float inputs to mean 0 and deviation 1 over ``axis`` in place, by the training part's own figures.

    What does not vary in training is centred and otherwise left alone.
    """
    mean = train.mean(axis=axis, keepdims=True, dtype=np.float64)
    deviation = train.std(axis=axis, keepdims=True, dtype=np.float64)
    deviation[deviation < 1e-12 * (1 + np.abs(mean))] = 1.0
    for part in (train, test):
        np.subtract(part, mean.astype(np.float32), out=part)
        np.divide(part, deviation.astype(np.float32), out=part)
