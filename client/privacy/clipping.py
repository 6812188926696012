"""Clips each example's gradient and adds them up: the one thing that sees single examples' gradients.

The clipping is Opacus's: flat over all parameters, factor min(1, C / (norm + 1e-6)). An example whose gradient is not
finite counts as zero, whole: one NaN must not end the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

_NORM_GUARD = 1e-6  # Opacus's: keeps the factor finite


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClippedSum:
    """What one batch comes to."""

    gradients: list[Tensor]  # the sum over examples, in the order of the trained parameters
    losses: Tensor  # (batch,) cross-entropy of each example
    logits: Tensor  # (batch, classes)


class Clipper(Protocol):
    """Computes the sum of clipped gradients of a batch of at least one example."""

    def clipped_sum(self, inputs: Tensor, labels: Tensor) -> ClippedSum:
        """Compute the sum."""
        ...

    def close(self) -> None:
        """Leave the model as it was found."""
        ...


def factors(squared_norms: Tensor, max_grad_norm: float) -> Tensor:
    """Return what each example's gradient is multiplied with; 0 where its norm is not finite."""
    scale = max_grad_norm / (squared_norms.sqrt() + _NORM_GUARD)
    return torch.where(torch.isfinite(squared_norms), scale.clamp(max=1.0), torch.zeros_like(scale))


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained, in the model's order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def make_clipper(model: nn.Module, max_grad_norm: float) -> Clipper:
    """Take book-keeping where it knows every layer, Opacus's hooks elsewhere.

    Raises:
        ConfigError: The model cannot be trained privately.
    """
    from client.privacy.book_keeping import BookKeeping, takes

    if takes(model):
        return BookKeeping(model, max_grad_norm)
    from client.privacy.hooks import OpacusHooks

    return OpacusHooks(model, max_grad_norm)
