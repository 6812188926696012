"""Local training in plain PyTorch: batches, loss, backward, step. Knows nothing of Flower or of federations.

FedProx (Li et al., MLSys 2020, eq. 2) adds mu/2 ||w - w_global||^2 to the local objective; its gradient
mu (w - w_global) is added to the batch's gradient, and the reported loss is that of the task alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from client.optimizers import OptimizerSettings, make_optimizer
from shared.config import RunConfig
from shared.datasets.client_data import ClientData
from shared.errors import DatasetError
from shared.evaluation import device_of, sum_of
from shared.privacy.reply import ClientPrivacy

# (inputs, labels) -> (mean cross-entropy, logits, gradients in the order of the parameters), all detached
GradientFunction = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, list[Tensor]]]


class ComputesGradients(Protocol):
    """A model that has a cheaper way to its gradients than autograd."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return the parameters, in the order of the gradients."""
        ...

    def loss_and_gradients(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Compute the mean cross-entropy, the logits, and the gradient of each parameter."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How a client trains in one round."""

    optimizer: OptimizerSettings
    batch_size: int
    local_epochs: int = 1
    local_steps: int = 0  # when positive, so many steps instead of epochs; they go round the data as often as needed
    proximal_mu: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainResult:
    """What one round of one client came to."""

    num_examples: int  # the client's training examples, whatever the number of steps: its weight in the mean
    num_steps: int
    loss: float  # mean cross-entropy of an example over all steps, each taken before its step; may be NaN
    accuracy: float  # the same for the share of right answers
    privacy: ClientPrivacy | None = None  # what the data's life has cost, where training was private


def settings_of(config: RunConfig) -> TrainSettings:
    """Pick what training needs out of a run's settings."""
    optimizer = OptimizerSettings(
        name=config.optimizer,
        learning_rate=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    return TrainSettings(
        optimizer=optimizer,
        batch_size=config.batch_size,
        local_epochs=config.local_epochs,
        local_steps=config.local_steps,
        proximal_mu=config.proximal_mu,
    )


def train(model: nn.Module, data: ClientData, settings: TrainSettings, rng: np.random.Generator) -> TrainResult:
    """Train a model in place.

    A loss that is not finite does not stop the training: the result says what it is, and the server refuses the update.

    Args:
        model: Gives logits of shape (batch, num_classes). Its gradients are None afterwards.
        data: The client's own.
        settings: How to train.
        rng: Shuffles the epochs and seeds torch (dropout); the result depends on nothing else that is random.

    Raises:
        DatasetError: The client has no training examples.
    """
    everything = list(model.parameters())  # walked once: torch searches the modules anew each time
    device = everything[0].device if everything else device_of(model)
    seed_torch(int(rng.integers(2**63)), device)
    parameters: list[Tensor] = [parameter for parameter in everything if parameter.requires_grad]
    start = [parameter.detach().clone() for parameter in parameters] if settings.proximal_mu else []
    optimizer = make_optimizer(settings.optimizer)
    gradients_of = _gradient_function(model, parameters, trains_all=len(parameters) == len(everything))
    progress = _Progress()
    model.train()
    for inputs, labels in _batches(model, data, settings, rng):
        targets = labels.to(device)
        loss, logits, gradients = gradients_of(inputs.to(device), targets)
        with torch.no_grad():
            if start:
                torch._foreach_add_(gradients, torch._foreach_sub(parameters, start), alpha=settings.proximal_mu)
            optimizer.step(parameters, gradients)
        progress.add(loss, logits, targets)
    return progress.result(data.num_examples)


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed what a layer on this device draws from; ``torch.manual_seed`` takes 80 us to look for every accelerator."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _gradient_function(model: nn.Module, parameters: list[Tensor], *, trains_all: bool) -> GradientFunction:
    """Take the model's own way to its gradients where it has one and trains all parameters; otherwise autograd."""

    def by_autograd(inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        logits = model(inputs)
        loss = F.cross_entropy(logits, labels)
        gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
        return loss.detach(), logits.detach(), list(gradients)

    # Not isinstance: looking for a protocol's members takes 20 us, at each client.
    if trains_all and callable(getattr(model, "loss_and_gradients", None)):
        return cast("ComputesGradients", model).loss_and_gradients
    return by_autograd


def _batches(
    model: nn.Module, data: ClientData, settings: TrainSettings, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through the epochs, each shuffled anew, or round and round until the steps are done."""
    if data.num_examples < 1:
        raise DatasetError("a client without training examples cannot train; use fewer clients or another partition")
    rounds = itertools.repeat(0) if settings.local_steps else range(settings.local_epochs)
    stream: Iterator[tuple[Tensor, Tensor]] = itertools.chain.from_iterable(
        data.train_batches(settings.batch_size, rng) for _ in rounds
    )
    if data.num_examples > 1 and settings.batch_size > 1 and _normalizes_batches(model):
        # Torch refuses the variance of one value: an epoch's last batch is left out when it is a single example.
        stream = (batch for batch in stream if len(batch[1]) > 1)
    return itertools.islice(stream, settings.local_steps or None)


def _normalizes_batches(model: nn.Module) -> bool:
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


class _Progress:
    """Keeps losses and right answers as tensors: reading a number at each step would wait for a GPU."""

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        self._corrects: list[Tensor] = []
        self._counts: list[int] = []

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self._losses.append(loss)
        self._corrects.append((logits.argmax(1) == labels).sum())
        self._counts.append(len(labels))

    def result(self, num_examples: int) -> TrainResult:
        losses = _numbers(self._losses)
        num_seen = sum(self._counts)
        return TrainResult(
            num_examples=num_examples,
            num_steps=len(losses),
            loss=sum_of([loss * count for loss, count in zip(losses, self._counts, strict=True)]) / num_seen,
            accuracy=sum(_numbers(self._corrects)) / num_seen,
        )


def _numbers(scalars: list[Tensor]) -> list[float]:
    """Read scalars: on a CPU one by one, from elsewhere at once."""
    if scalars[0].device.type == "cpu":
        return [scalar.item() for scalar in scalars]
    numbers: list[float] = torch.stack(scalars).tolist()
    return numbers
