"""Clipping by book-keeping: one backward pass by the layers' outputs, then each layer's own arithmetic.

Where a model records its layers itself (the built-in CNN, by oneDNN's kernels) that is used; elsewhere forward hooks
keep what each layer saw and autograd gives the gradients at the outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from client.privacy.clipping import ClippedSum, factors, trained_parameters
from client.privacy.layers import LayerGradients, gradients_of, knows
from shared.errors import ConfigError
from shared.models.layer_records import LayerRecord, RecordsLayers


def takes(model: nn.Module) -> bool:
    """Tell whether every trained parameter belongs to a layer that book-keeping knows, and to that one alone."""
    owners: dict[nn.Parameter, nn.Module] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if not knows(module) or owners.setdefault(parameter, module) is not module:
                return False
    return bool(owners)


class BookKeeping:
    """Computes sums of clipped gradients without any single example's gradient where that is cheaper."""

    def __init__(self, model: nn.Module, max_grad_norm: float) -> None:
        """Hook into the layers of a model that ``takes`` says yes to."""
        self._model = model
        self._max_grad_norm = max_grad_norm
        self._parameters = trained_parameters(model)
        self._uses: list[tuple[nn.Module, Tensor, Tensor]] = []
        self._handles: list[RemovableHandle] = []
        self._records_itself = isinstance(model, RecordsLayers)

    def clipped_sum(self, inputs: Tensor, labels: Tensor) -> ClippedSum:
        """Compute the sum of a batch's clipped gradients.

        Raises:
            ConfigError: A layer does not have the examples as its first dimension.
        """
        losses, logits, records = self._pass(inputs, labels)
        with torch.no_grad():
            gradients, squared_norms = _by_layer(records, len(labels))
            is_bad = ~torch.isfinite(squared_norms)
            if bool(is_bad.any()):  # 0 x NaN is NaN: what these examples left is taken out, not multiplied
                gradients, _ = _by_layer([_without(record, is_bad) for record in records], len(labels))
            scale = factors(squared_norms, self._max_grad_norm)
            sums: dict[Tensor, Tensor] = {}
            for layer in gradients:
                sums |= layer.weighted_sum(scale)
            ordered = [
                sums[parameter] if parameter in sums else torch.zeros_like(parameter) for parameter in self._parameters
            ]
        return ClippedSum(gradients=ordered, losses=losses, logits=logits)

    def close(self) -> None:
        """Take the hooks out."""
        while self._handles:
            self._handles.pop().remove()

    def _pass(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Sequence[LayerRecord]]:
        if self._records_itself and not self._handles and isinstance(self._model, RecordsLayers):
            recorded = self._model.losses_and_records(inputs, labels)
            if recorded is not None:
                return recorded
        self._hook()
        self._uses.clear()
        logits: Tensor = self._model(inputs)
        losses = F.cross_entropy(logits, labels, reduction="none")
        outputs = [output for _, _, output in self._uses]
        gradients = torch.autograd.grad(losses.sum(), outputs, allow_unused=True)
        records = [
            LayerRecord(layer=layer, inputs=seen, gradient=gradient)
            for (layer, seen, _), gradient in zip(self._uses, gradients, strict=True)
            if gradient is not None
        ]
        self._uses.clear()
        return losses.detach(), logits.detach(), records

    def _hook(self) -> None:
        if self._handles:
            return
        for module in self._model.modules():
            if any(parameter.requires_grad for parameter in module.parameters(recurse=False)):
                self._handles.append(module.register_forward_hook(self._keep))

    def _keep(self, layer: nn.Module, seen: tuple[Tensor, ...], output: Tensor) -> None:
        self._uses.append((layer, seen[0].detach(), output))


def _by_layer(records: Sequence[LayerRecord], batch: int) -> tuple[list[LayerGradients], Tensor]:
    """Group the uses by layer; returns the layers, and each example's squared norm over all of them."""
    uses: dict[nn.Module, list[LayerRecord]] = {}
    for record in records:
        if len(record.inputs) != batch or len(record.gradient) != batch:
            raise ConfigError(
                f"the model cannot be trained privately: a {type(record.layer).__name__} is given "
                f"{len(record.inputs)} rows for {batch} examples; examples must be the first dimension of each layer"
            )
        uses.setdefault(record.layer, []).append(record)
    layers: list[LayerGradients] = []
    total = torch.zeros(batch, device=records[0].gradient.device) if records else torch.zeros(batch)
    for layer, of_layer in uses.items():
        layers.append(gradients_of(layer, of_layer))
        total = total + layers[-1].squared_norms()
    return layers, total


def _without(record: LayerRecord, is_bad: Tensor) -> LayerRecord:
    """Clear what some examples left at a layer."""
    inputs, gradient = record.inputs.clone(), record.gradient.clone()
    inputs[is_bad] = 0
    gradient[is_bad] = 0
    return LayerRecord(layer=record.layer, inputs=inputs, gradient=gradient)
