"""Clipping by Opacus's own hooks, for models with layers that book-keeping does not know: slower, and it knows more."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from client.privacy.clipping import ClippedSum, factors, trained_parameters
from shared.errors import ConfigError


class OpacusHooks:
    """Holds every example's gradient by every parameter, as Opacus does."""

    def __init__(self, model: nn.Module, max_grad_norm: float) -> None:
        """Let Opacus hook into the model.

        Raises:
            ConfigError: Opacus does not take the model.
        """
        from opacus.grad_sample import GradSampleModule

        self._max_grad_norm = max_grad_norm
        self._parameters = trained_parameters(model)
        try:
            self._module = GradSampleModule(model, batch_first=True, loss_reduction="sum", strict=True)
        except (NotImplementedError, ValueError, TypeError) as error:
            raise ConfigError(f"the model cannot be trained privately: {error}") from error

    def clipped_sum(self, inputs: Tensor, labels: Tensor) -> ClippedSum:
        """Compute the sum of a batch's clipped gradients."""
        logits: Tensor = self._module(inputs)
        losses = F.cross_entropy(logits, labels, reduction="none")
        try:
            with warnings.catch_warnings():  # it fires for the first layer, as Opacus wants it to
                warnings.filterwarnings("ignore", message="Full backward hook is firing when gradients are computed")
                losses.sum().backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                samples = [_sample_of(parameter, len(labels)) for parameter in self._parameters]
                squared_norms = torch.stack([sample.flatten(1).square().sum(1) for sample in samples]).sum(0)
                scale = factors(squared_norms, self._max_grad_norm)
                is_bad = ~torch.isfinite(squared_norms)
                for sample in samples:
                    sample[is_bad] = 0  # 0 x NaN is NaN
                sums = [torch.tensordot(scale, sample, 1) for sample in samples]
        finally:
            self._forget()
        return ClippedSum(gradients=sums, losses=losses.detach(), logits=logits.detach())

    def close(self) -> None:
        """Take Opacus's hooks and attributes off the model."""
        self._forget()
        self._module.remove_hooks()
        for parameter in self._parameters:
            for name in ("grad_sample", "_forward_counter", "_current_grad_sample"):
                if hasattr(parameter, name):
                    delattr(parameter, name)

    def _forget(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None
            parameter.grad_sample = None  # type: ignore[attr-defined]


def _sample_of(parameter: nn.Parameter, batch: int) -> Tensor:
    """Read what Opacus left at a parameter; one that the loss does not depend on has no gradient."""
    sample = getattr(parameter, "grad_sample", None)
    if sample is None:
        return torch.zeros(batch, *parameter.shape, device=parameter.device, dtype=parameter.dtype)
    if isinstance(sample, list) or len(sample) != batch:
        raise ConfigError(
            "the model cannot be trained privately: examples must be the first dimension of each layer's input"
        )
    gradient: Tensor = sample
    return gradient
