"""Local training with privacy of each example: DP-SGD (Abadi et al., CCS 2016, algorithm 1) with any of our optimizers.

Every step draws its batch by Poisson sampling, clips each example's gradient, adds Gaussian noise and divides by the
expected batch. A step whose batch is empty adds its noise and counts, as the accountant counted it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from client.optimizers import make_optimizer
from client.privacy.budget import Charged
from client.privacy.clipping import ClippedSum, Clipper, make_clipper, trained_parameters
from client.privacy.noise import SecureRandom, add_noise
from client.trainer import TrainResult, TrainSettings, seed_torch
from shared.datasets.client_data import ClientData, PicksExamples
from shared.datasets.loaders import has_own_sampler
from shared.errors import ConfigError
from shared.evaluation import device_of
from shared.privacy.models import check_rows_apart, check_separable

Pick = Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]
_TRIED = 8  # examples, on which it is tried whether the model keeps them apart
_GATHER = 4096  # examples a batch, where data that cannot be picked from is gathered once


def train_privately(
    model: nn.Module,
    data: ClientData,
    settings: TrainSettings,
    charged: Charged,
    rng: np.random.Generator,
    random: SecureRandom,
) -> TrainResult:
    """Train a model in place, as it was charged for.

    Args:
        model: Gives logits of shape (batch, num_classes); its layers keep examples apart.
        data: The client's own.
        settings: Optimizer and proximal term; epochs and batches are the charge's.
        charged: Noise, clipping and sampling.
        rng: Seeds torch (dropout). Neither noise nor batches come from it.
        random: Draws batches and noise.

    Raises:
        ConfigError: The model cannot be trained privately, or what it remembers of the data would leave with it.
        DatasetError: The client has no training examples.
    """
    check_separable(model)
    device = device_of(model)
    seed_torch(int(rng.integers(2**63)), device)
    pick = _picker(data, rng)
    check_rows_apart(model, pick(np.arange(min(data.num_examples, _TRIED)))[0].to(device))
    parameters: list[Tensor] = list(trained_parameters(model))
    start = [parameter.detach().clone() for parameter in parameters] if settings.proximal_mu else []
    optimizer = make_optimizer(settings.optimizer)
    progress = _Progress()
    model.train()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    clipper = make_clipper(model, charged.max_grad_norm)
    try:
        for _ in range(charged.sampling.steps):
            sums = _clipped_sum(clipper, parameters, data.num_examples, charged, pick, device, random, progress)
            deviation = charged.noise_multiplier * charged.max_grad_norm
            gradients = add_noise(sums, deviation, charged.sampling.expected_batch, random)
            with torch.no_grad():
                if start:
                    torch._foreach_add_(gradients, torch._foreach_sub(parameters, start), alpha=settings.proximal_mu)
                optimizer.step(parameters, gradients)
    finally:
        clipper.close()
    _check_buffers(model, buffers)
    return progress.result(data.num_examples, charged)


def _clipped_sum(
    clipper: Clipper,
    parameters: list[Tensor],
    num_examples: int,
    charged: Charged,
    pick: Pick,
    device: torch.device,
    random: SecureRandom,
    progress: _Progress,
) -> list[Tensor]:
    chosen = np.flatnonzero(random.poisson_mask(num_examples, charged.sampling.sample_rate))
    if not len(chosen):
        return [torch.zeros_like(parameter) for parameter in parameters]
    inputs, labels = pick(chosen)
    targets = labels.to(device)
    result = clipper.clipped_sum(inputs.to(device), targets)
    progress.add(result, targets)
    return result.gradients


def _picker(data: ClientData, rng: np.random.Generator) -> Pick:
    """Return what gives the examples at some positions; data that only comes in batches is gathered once."""
    if isinstance(data, PicksExamples):
        return data.pick
    if has_own_sampler(data):
        raise ConfigError(
            "the client's loader has a sampler of its own; privacy is accounted for Poisson sampling only: give the "
            "DataLoader no sampler and no batch_sampler"
        )
    batches = list(data.train_batches(_GATHER, rng))
    inputs, labels = torch.cat([batch[0] for batch in batches]), torch.cat([batch[1] for batch in batches])
    if len(labels) != data.num_examples:
        raise ConfigError(
            f"the client's loader gives {len(labels)} examples where it gave {data.num_examples} before; privacy needs "
            "each example once, in every pass"
        )
    return lambda positions: (inputs[positions], labels[positions])


def _check_buffers(model: nn.Module, before: dict[str, Tensor]) -> None:
    """Refuse a model whose buffers follow the data: they leave with it, without noise.

    Raises:
        ConfigError: Names the buffer.
    """
    for name, buffer in model.named_buffers():
        if name not in before or not torch.equal(buffer, before[name]):
            raise ConfigError(
                f"the model cannot be trained privately: its buffer {name!r} changes with the data and would be sent "
                "without noise"
            )


class _Progress:
    """Loss and accuracy over the examples that were drawn; they are not covered by the guarantee."""

    def __init__(self) -> None:
        self._loss_sum = 0.0
        self._num_correct = 0
        self._num_finite = 0
        self._num_drawn = 0

    def add(self, result: ClippedSum, labels: Tensor) -> None:
        losses = result.losses.double()
        is_finite = torch.isfinite(losses)
        self._loss_sum += float(losses[is_finite].sum())
        self._num_finite += int(is_finite.sum())
        self._num_correct += int((result.logits.argmax(1) == labels).sum())
        self._num_drawn += len(labels)

    def result(self, num_examples: int, charged: Charged) -> TrainResult:
        """Sum up; a round that drew nobody has a loss and an accuracy of 0, as one without examples has."""
        return TrainResult(
            num_examples=num_examples,
            num_steps=charged.sampling.steps,
            loss=self._loss_sum / self._num_finite if self._num_finite else (math.nan if self._num_drawn else 0.0),
            accuracy=self._num_correct / self._num_drawn if self._num_drawn else 0.0,
            privacy=charged.privacy,
        )
