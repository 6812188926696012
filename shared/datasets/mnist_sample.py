"""``mnist-sample``: 10,000 real MNIST digits that ship with the package (see files/PROVENANCE.txt)."""

from __future__ import annotations

import importlib.resources

import numpy as np
import torch

from shared.config import RunConfig
from shared.datasets.dataset import Dataset, Normalization

DIGITS = tuple("0123456789")
# The mean and deviation of MNIST's 60,000 training images, as everybody uses them. The sample's own differ in the
# third decimal; the published ones let a model be used without this package.
MNIST_NORMALIZATION = Normalization(mean=(0.1307,), std=(0.3081,))


def load_mnist_sample(_config: RunConfig) -> Dataset:
    """Read the packaged digits: 8,000 for training, 2,000 for the test, 1x28x28."""
    resource = importlib.resources.files("shared.datasets") / "files" / "mnist_sample.npz"
    with resource.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return Dataset(
            name="mnist-sample",
            train_inputs=torch.from_numpy(arrays["train_images"][:, None]),  # (n, 1, h, w)
            train_labels=torch.from_numpy(arrays["train_labels"].astype(np.int64)),
            test_inputs=torch.from_numpy(arrays["test_images"][:, None]),
            test_labels=torch.from_numpy(arrays["test_labels"].astype(np.int64)),
            class_names=DIGITS,
            normalization=MNIST_NORMALIZATION,
        )
