"""What a backward pass leaves at each layer: enough to know every example's own gradient without computing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerRecord:
    """One use of one layer in a pass over a batch; examples are the first dimension of both tensors."""

    layer: nn.Module
    inputs: Tensor
    gradient: Tensor  # of the sum of the losses, by the layer's output


@runtime_checkable
class RecordsLayers(Protocol):
    """A model that has a cheaper way to its layers' records than hooks and autograd."""

    def losses_and_records(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, list[LayerRecord]] | None:
        """Compute each example's cross-entropy, the logits, and a record of each layer; None where hooks are to."""
        ...
