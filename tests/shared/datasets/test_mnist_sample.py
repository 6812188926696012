"""The digits that ship with the package."""

from __future__ import annotations

import hashlib
import importlib.resources

import numpy as np
import torch

from shared.config import RunConfig
from shared.datasets.mnist_sample import load_mnist_sample

SHA256 = "5aaf5aa2abf5359f0fc6cd200aee81e75bcd7e6180deec8be84ca6d7cc02b6b0"  # as its origin gives it


def packaged(name: str) -> bytes:
    return (importlib.resources.files("shared.datasets") / "files" / name).read_bytes()


def test_the_packaged_file_is_the_one_its_provenance_names() -> None:
    assert hashlib.sha256(packaged("mnist_sample.npz")).hexdigest() == SHA256
    provenance = packaged("PROVENANCE.txt").decode()
    for fact in (SHA256, "MIT License", "LeCun", "github.com/cazala/mnist", "NOT the official MNIST"):
        assert fact in provenance


def test_eight_thousand_digits_train_and_two_thousand_test() -> None:
    data = load_mnist_sample(RunConfig())
    assert data.train_inputs.shape == (8_000, 1, 28, 28)
    assert data.test_inputs.shape == (2_000, 1, 28, 28)
    assert data.class_names == tuple("0123456789")
    assert torch.bincount(data.train_labels).min() > 600, "every digit is there about as often"


def test_the_inputs_are_nearly_standardised() -> None:
    """By MNIST's own constants, so the sample is off in the third decimal."""
    inputs, _ = load_mnist_sample(RunConfig()).train.everything()
    assert abs(float(inputs.mean())) < 0.02
    assert abs(float(inputs.std()) - 1) < 0.02


def test_the_formula_in_plain_torch_gives_the_same_inputs() -> None:
    data = load_mnist_sample(RunConfig())
    plain = (data.test_inputs[:100].float() / 255 - 0.1307) / 0.3081
    inputs, _ = data.test.take(np.arange(100))
    torch.testing.assert_close(inputs, plain, rtol=0, atol=1e-6)


def test_the_digits_tell_themselves_apart() -> None:
    """Nearest class mean, which needs no training, is right about four times in five on MNIST (LeCun et al.: 82%)."""
    data = load_mnist_sample(RunConfig())
    train, labels = data.train.everything()
    test, expected = data.test.everything()
    means = torch.stack([train[labels == digit].mean(dim=0).flatten() for digit in range(10)])
    found = torch.cdist(test.flatten(1), means).argmin(dim=1)
    assert float((found == expected).float().mean()) > 0.78
