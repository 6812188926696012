"""``synthetic``: images made from the seed, as many as asked for, that a model can learn to tell apart."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from shared.config import RunConfig
from shared.datasets.dataset import Dataset, Normalization
from shared.datasets.mnist_sample import DIGITS
from shared.errors import DatasetError

NUM_CLASSES = 10
SIDE = 28  # pixels
MAX_TEST_EXAMPLES = 2_000
_STREAM = 3  # the run's seed feeds several generators; each has its number
_ROWS_AT_ONCE = 4_096  # bounds what is held besides the images themselves
_PATTERN_LEVELS = 64  # grey levels of a class's pattern; the noise has the other 192


def load_synthetic(config: RunConfig) -> Dataset:
    """Make ``num-examples`` training images, and a fifth as many (10 to 2,000) for the test: 1x28x28, 10 classes.

    A class is a coarse random pattern; an example is its class's pattern under uniform noise three times as strong.
    The same seed and number make the same images.

    Raises:
        DatasetError: So many do not fit into memory.
    """
    num_test = min(max(config.num_examples // 5, NUM_CLASSES), MAX_TEST_EXAMPLES)
    try:
        train_inputs, test_inputs = _empty(config.num_examples), _empty(num_test)
    except (MemoryError, ValueError) as error:  # numpy's ValueError is for what no machine could address
        raise DatasetError(
            f"num-examples {config.num_examples} synthetic images do not fit into memory; lower --num-examples"
        ) from error
    rng = np.random.default_rng([config.seed, _STREAM])
    coarse = rng.integers(0, _PATTERN_LEVELS, size=(NUM_CLASSES, SIDE // 4, SIDE // 4), dtype=np.uint8)
    patterns = coarse.repeat(4, axis=1).repeat(4, axis=2)  # (class, h, w)
    train_labels = rng.permutation(np.arange(config.num_examples) % NUM_CLASSES)
    test_labels = np.arange(num_test) % NUM_CLASSES
    _draw(train_inputs, patterns, train_labels, rng)
    _draw(test_inputs, patterns, test_labels, rng)
    return Dataset(
        name="synthetic",
        train_inputs=torch.from_numpy(train_inputs),
        train_labels=torch.from_numpy(train_labels),
        test_inputs=torch.from_numpy(test_inputs),
        test_labels=torch.from_numpy(test_labels),
        class_names=DIGITS,
        normalization=Normalization(mean=(0.5,), std=(0.25,)),
    )


def _empty(num_images: int) -> NDArray[np.uint8]:
    return np.empty((num_images, 1, SIDE, SIDE), dtype=np.uint8)


def _draw(
    images: NDArray[np.uint8], patterns: NDArray[np.uint8], labels: NDArray[np.int64], rng: np.random.Generator
) -> None:
    for start in range(0, len(labels), _ROWS_AT_ONCE):
        rows = labels[start : start + _ROWS_AT_ONCE]
        noise = rng.integers(0, 256, size=(len(rows), SIDE, SIDE), dtype=np.uint8)
        noise -= noise >> 2  # 0..255 to 0..192
        noise += patterns[rows]  # at most 192 + 63
        images[start : start + len(rows), 0] = noise
