"""SGD, Adam and AdamW as plain updates of lists of tensors.

``torch.optim`` would do the same, but its first use imports ``torch._dynamo``: over a second and about 170 MB, in each
worker process. State lives for one round of one client, so a result never depends on what a process did before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from shared.errors import ConfigError

ADAM_BETAS = (0.9, 0.999)  # Kingma and Ba, ICLR 2015, algorithm 1; torch.optim's defaults too
ADAM_EPSILON = 1e-8


class Optimizer(Protocol):
    """Changes parameters in place by their gradients."""

    def step(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Take one step. The lists are the same tensors, in the same order, at each call; gradients may be changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """Which optimizer, and its constants."""

    name: str
    learning_rate: float
    momentum: float = 0.0  # sgd only
    weight_decay: float = 0.0  # L2 in the gradient for sgd and adam, decoupled for adamw


class Sgd:
    """Stochastic gradient descent with momentum: v <- m v + g; w <- w - lr v, where the first v is the gradient."""

    def __init__(self, settings: OptimizerSettings) -> None:
        """Start without velocity."""
        self._settings = settings
        self._velocity: list[Tensor] | None = None

    def step(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Take one step."""
        settings, is_first_step = self._settings, self._velocity is None
        if self._velocity is None:
            self._velocity = [torch.empty_like(parameter) for parameter in parameters] if settings.momentum else []
        if not all(parameter.dtype is torch.float32 and parameter.device.type == "cpu" for parameter in parameters):
            self._step_by_lists(parameters, gradients, self._velocity, is_first_step)
            return
        torch._fused_sgd_(  # one pass over the memory: 6 us where the lists take 27 (46,730 parameters)
            parameters,
            gradients,
            self._velocity,
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            lr=settings.learning_rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=is_first_step,
        )

    def _step_by_lists(
        self, parameters: list[Tensor], gradients: list[Tensor], velocity: list[Tensor], is_first_step: bool
    ) -> None:
        _add_weight_decay(parameters, gradients, self._settings.weight_decay)
        if velocity and is_first_step:
            torch._foreach_copy_(velocity, gradients)
        elif velocity:
            torch._foreach_mul_(velocity, self._settings.momentum)
            torch._foreach_add_(velocity, gradients)
        torch._foreach_add_(parameters, velocity or gradients, alpha=-self._settings.learning_rate)


class Adam:
    """Adam (Kingma and Ba, ICLR 2015, algorithm 1) or, decoupled, AdamW (Loshchilov and Hutter, ICLR 2019)."""

    def __init__(self, settings: OptimizerSettings, *, decoupled: bool) -> None:
        """Start without moments."""
        self._settings = settings
        self._decoupled = decoupled
        self._num_steps = 0
        self._first: list[Tensor] = []
        self._second: list[Tensor] = []

    def step(self, parameters: list[Tensor], gradients: list[Tensor]) -> None:
        """Take one step."""
        learning_rate, decay = self._settings.learning_rate, self._settings.weight_decay
        if self._decoupled and decay:
            torch._foreach_mul_(parameters, 1 - learning_rate * decay)
        elif decay:
            _add_weight_decay(parameters, gradients, decay)
        if not self._first:
            self._first = [torch.zeros_like(gradient) for gradient in gradients]
            self._second = [torch.zeros_like(gradient) for gradient in gradients]
        self._num_steps += 1
        beta1, beta2 = ADAM_BETAS
        torch._foreach_lerp_(self._first, gradients, 1 - beta1)
        torch._foreach_mul_(self._second, beta2)
        torch._foreach_addcmul_(self._second, gradients, gradients, 1 - beta2)
        scale = torch._foreach_sqrt(self._second)
        torch._foreach_div_(scale, (1 - beta2**self._num_steps) ** 0.5)
        torch._foreach_add_(scale, ADAM_EPSILON)
        torch._foreach_addcdiv_(parameters, self._first, scale, -learning_rate / (1 - beta1**self._num_steps))


def make_optimizer(settings: OptimizerSettings) -> Optimizer:
    """Make a fresh optimizer for one round of one client.

    Raises:
        ConfigError: There is no optimizer of that name.
    """
    if settings.name == "sgd":
        return Sgd(settings)
    if settings.name in ("adam", "adamw"):
        return Adam(settings, decoupled=settings.name == "adamw")
    raise ConfigError(f"optimizer must be one of sgd, adam, adamw, got {settings.name!r}")


def _add_weight_decay(parameters: list[Tensor], gradients: list[Tensor], weight_decay: float) -> None:
    if weight_decay:
        torch._foreach_add_(gradients, parameters, alpha=weight_decay)
