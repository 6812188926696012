"""Private training against Opacus's own loop: step by step with the same draws, and in accuracy with its own."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from client.optimizers import OptimizerSettings
from client.privacy.budget import Charged
from client.privacy.noise import SecureRandom
from client.privacy.training import train_privately
from client.trainer import TrainSettings
from shared.config import RunConfig
from shared.datasets.federated import federate
from shared.errors import ConfigError
from shared.evaluation import batches_of, evaluate
from shared.models.catalog import build_model
from shared.privacy.history import sampling_of
from shared.privacy.reply import ClientPrivacy

KEY = bytes(range(32))
SGD = OptimizerSettings(name="sgd", learning_rate=0.1)
PRIVACY = ClientPrivacy(epsilon=1.0, delta=1e-5, accountant="prv", noise_multiplier=1.0, sample_rate=0.1, steps=10)


class Drawn:
    """Examples in memory: what a client's data is."""

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        self.inputs, self.labels = inputs, labels
        self.num_examples, self.num_test_examples = len(labels), 0

    def train_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        return batches_of(self.inputs, self.labels, batch_size)

    def test_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(())

    def pick(self, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return self.inputs[positions], self.labels[positions]


class OnlyBatches(Drawn):
    pick = None  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> object:
        if name == "pick":
            raise AttributeError(name)
        return super().__getattribute__(name)


def blobs(count: int, seed: int = 3) -> Drawn:
    torch.manual_seed(seed)
    labels = torch.randint(0, 3, (count,))
    return Drawn(torch.randn(count, 6) + 2 * F.one_hot(labels, 6), labels)


def charged(count: int, batch_size: int, *, noise: float = 1.0, epochs: int = 2, max_grad_norm: float = 0.7) -> Charged:
    sampling = sampling_of(num_examples=count, batch_size=batch_size, local_epochs=epochs)
    return Charged(noise_multiplier=noise, max_grad_norm=max_grad_norm, sampling=sampling, privacy=PRIVACY)


def train(model: nn.Module, data: Drawn, paid: Charged, key: bytes | None = KEY, mu: float = 0.0):  # type: ignore[no-untyped-def]
    settings = TrainSettings(optimizer=SGD, batch_size=1, proximal_mu=mu)
    return train_privately(model, data, settings, paid, np.random.default_rng(1), SecureRandom(key))


def mlp(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.filterwarnings("ignore:Full backward hook is firing when gradients are computed")
def test_step_by_step_it_is_opacus_loop_with_the_same_batches_and_noise() -> None:
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    data, paid = blobs(50), charged(50, 10, noise=0.8)
    ours, theirs = mlp(), GradSampleModule(mlp(), loss_reduction="mean")
    optimizer = DPOptimizer(
        torch.optim.SGD(theirs.parameters(), lr=0.1),
        noise_multiplier=0.0,
        max_grad_norm=0.7,
        expected_batch_size=10,
    )
    random = SecureRandom(KEY)
    for _ in range(paid.sampling.steps):
        chosen = torch.from_numpy(np.flatnonzero(random.poisson_mask(50, paid.sampling.sample_rate)))
        optimizer.zero_grad()
        F.cross_entropy(theirs(data.inputs[chosen]), data.labels[chosen]).backward()
        optimizer.pre_step()
        noise = random.gaussian(len(flat(ours))).float() * 0.8 * 0.7 / 10
        for parameter, part in zip(
            theirs.parameters(), noise.split([p.numel() for p in ours.parameters()]), strict=True
        ):
            assert parameter.grad is not None
            parameter.grad.add_(part.view_as(parameter))
        optimizer.original_optimizer.step()
    result = train(ours, data, paid)
    assert torch.allclose(flat(ours), flat(theirs), atol=1e-6)
    assert result.num_steps == 10
    assert result.privacy == PRIVACY


def test_an_empty_batch_adds_its_noise_and_counts() -> None:
    data, paid = blobs(2), charged(2, 1, noise=1.0, epochs=1)
    model, before = mlp(), flat(mlp())

    class DrawsNobody(SecureRandom):
        def poisson_mask(self, count: int, probability: float) -> NDArray[np.bool_]:
            super().poisson_mask(count, probability)
            return np.zeros(count, np.bool_)

    settings = TrainSettings(optimizer=SGD, batch_size=1)
    result = train_privately(model, data, settings, paid, np.random.default_rng(1), DrawsNobody(KEY))
    random = SecureRandom(KEY)
    expected = before.double()
    for _ in range(2):
        random.poisson_mask(2, 0.5)
        expected -= 0.1 * random.gaussian(len(before)) * 0.7  # the expected batch is 1
    assert torch.allclose(flat(model).double(), expected, atol=1e-6)
    assert (result.num_steps, result.loss, result.accuracy) == (2, 0.0, 0.0)


def test_one_poisoned_example_moves_the_model_no_further_than_leaving_it_out() -> None:
    data = blobs(40)
    data.inputs[7] = math.nan
    model = mlp()
    result = train(model, data, charged(40, 8))
    assert bool(torch.isfinite(flat(model)).all())
    assert math.isfinite(result.loss)


def test_no_example_moves_the_model_by_more_than_the_clipping_norm() -> None:
    """The sensitivity that the accountant assumes: with and without one example, same batches, same noise."""
    with_it = blobs(40)
    without = Drawn(with_it.inputs.clone(), with_it.labels.clone())
    with_it.inputs[3] *= 1e6
    without.inputs[3] = math.nan  # an example that counts as zero
    paid = charged(40, 40, epochs=1)  # one step with everybody
    one, other = mlp(), mlp()
    train(one, with_it, paid)
    train(other, without, paid)
    moved = float((flat(one) - flat(other)).norm())
    assert moved <= 0.1 * 0.7 / 40 * (1 + 1e-4)
    assert moved > 0.5 * 0.1 * 0.7 / 40


def test_data_that_comes_in_batches_only_is_gathered_once() -> None:
    data = blobs(30)
    one, other = mlp(), mlp()
    train(one, data, charged(30, 10))
    train(other, OnlyBatches(data.inputs, data.labels), charged(30, 10))
    assert torch.equal(flat(one), flat(other))


def test_a_proximal_term_pulls_towards_the_start() -> None:
    data, start = blobs(40), flat(mlp())
    free, bound = mlp(), mlp()
    train(free, data, charged(40, 8))
    train(bound, data, charged(40, 8), mu=3.0)
    assert (flat(bound) - start).norm() < (flat(free) - start).norm()


def test_without_a_key_no_two_trainings_are_alike() -> None:
    one, other = mlp(), mlp()
    train(one, blobs(30), charged(30, 10), key=None)
    train(other, blobs(30), charged(30, 10), key=None)
    assert not torch.equal(flat(one), flat(other))


class CountsWhatItSees(nn.Module):
    """A buffer that follows the data: it would leave without noise."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3)
        self.register_buffer("seen", torch.zeros(6))

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen += inputs.detach().sum(0)
        return self.inner(inputs)


def test_a_model_whose_buffers_follow_the_data_is_refused() -> None:
    with pytest.raises(ConfigError, match="its buffer 'seen' changes with the data"):
        train(CountsWhatItSees(), blobs(20), charged(20, 5))


def test_batch_normalisation_is_refused_before_a_step() -> None:
    model = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3, affine=False))
    with pytest.raises(ConfigError, match="1 is a BatchNorm1d, whose output for one example depends on others"):
        train(model, blobs(20), charged(20, 5))


# Centralised, on real digits: one client of everything, as Opacus trains it and as we do.
# Both sides draw with seeds, so that the means, whose own error is half of what is allowed, stay what they are.
SIGMA, CLIP, BATCH, EPOCHS, RATE, SEEDS = 0.7, 1.0, 64, 5, 0.12, 4


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_one_clients_accuracy_is_within_half_a_point_of_opacus_own_loop() -> None:
    federation = federate(RunConfig(num_clients=1, partition="iid"))
    inputs, labels = next(iter(federation.client(0).train_batches(10**6, np.random.default_rng(0))))
    data, test = Drawn(inputs, labels), federation.central_test
    assert test is not None
    sampling = sampling_of(num_examples=len(labels), batch_size=BATCH, local_epochs=EPOCHS)
    paid = Charged(noise_multiplier=SIGMA, max_grad_norm=CLIP, sampling=sampling, privacy=PRIVACY)
    settings = TrainSettings(optimizer=OptimizerSettings(name="sgd", learning_rate=RATE), batch_size=BATCH)
    ours, theirs = [], []
    for seed in range(SEEDS):
        model = build_model("cnn", (1, 28, 28), 10, seed=seed)
        train_privately(
            model, data, settings, paid, np.random.default_rng(seed), SecureRandom(bytes(31) + bytes([seed]))
        )
        ours.append(evaluate(model, batches_of(*test)).accuracy)
        theirs.append(evaluate(opacus_trained(data, seed), batches_of(*test)).accuracy)
    print(f"ours {statistics.fmean(ours):.4f} {ours}, Opacus {statistics.fmean(theirs):.4f} {theirs}")
    assert statistics.fmean(ours) > 0.8
    assert abs(statistics.fmean(ours) - statistics.fmean(theirs)) <= 0.005


def opacus_trained(data: Drawn, seed: int) -> nn.Module:
    """Train by Opacus's PrivacyEngine, its loader and its optimizer, with its own random numbers."""
    from opacus import PrivacyEngine
    from torch.utils.data import DataLoader, TensorDataset

    model = build_model("cnn", (1, 28, 28), 10, seed=seed)
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, optimizer, loader = PrivacyEngine().make_private(
            module=model.train(),
            optimizer=torch.optim.SGD(model.parameters(), lr=RATE),
            data_loader=DataLoader(TensorDataset(data.inputs, data.labels), batch_size=BATCH),
            noise_multiplier=SIGMA,
            max_grad_norm=CLIP,
        )
        for _ in range(EPOCHS):
            for inputs, labels in loader:
                optimizer.zero_grad()
                F.cross_entropy(module(inputs), labels).backward()
                optimizer.step()
    module.remove_hooks()
    return model
