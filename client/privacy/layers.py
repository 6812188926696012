"""Norms of single examples' gradients, and their weighted sum, for the layers that book-keeping knows.

Bu et al., "Differentially Private Optimization on Large Model at Small Cost", ICML 2023: both follow from what a layer
saw and the gradient at its output, in one backward pass. For a layer whose output at place t is W a_t + b, an example's
gradient by W is the sum over t of g_t a_t^T; a convolution is such a layer, with its windows as places.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.models.layer_records import LayerRecord

# Numbers of one example's gradient by one matrix that are held at once; beyond it the norm is taken by inner products.
_MAX_HELD = 65_536
_CANCELS = 1e-3  # of the norm that places of one direction would have; float32 is off by some 1e-6 of it


class LayerGradients(Protocol):
    """The examples' gradients by one layer's parameters, computed or not."""

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm over the layer's trained parameters."""
        ...

    def weighted_sum(self, factors: Tensor) -> dict[Tensor, Tensor]:
        """Return the sum over examples, each times its factor, by parameter."""
        ...


class MatrixGradients:
    """Of a weight matrix and a bias that are used at several places of an example."""

    def __init__(
        self,
        inputs: Tensor,
        gradient: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        fold: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Take what the layer saw.

        Args:
            inputs: a, (batch, places, columns).
            gradient: g, (batch, places, rows).
            weight: W; where ``fold`` is None, (rows, columns).
            bias: b, (rows,).
            fold: Makes a gradient of the shape (rows, columns) one of W's shape.
        """
        self._inputs: Tensor | None = inputs
        self._gradient = gradient
        self._weight = weight if weight.requires_grad else None
        self._bias = bias if bias is not None and bias.requires_grad else None
        self._fold = fold
        self._held: Tensor | None = None  # (batch, rows, columns)
        self._bias_gradient = gradient.sum(1) if gradient.shape[1] != 1 else gradient[:, 0]  # (batch, rows)

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm."""
        norms = torch.zeros(len(self._gradient), device=self._gradient.device, dtype=self._gradient.dtype)
        if self._weight is not None and self._inputs is not None:
            norms = self._weight_norms(self._inputs)
        if self._bias is not None:
            norms = norms + _squares(self._bias_gradient)
        return norms

    def _weight_norms(self, inputs: Tensor) -> Tensor:
        places, columns, rows = inputs.shape[1], inputs.shape[2], self._gradient.shape[2]
        if places == 1:
            return _squares(inputs[:, 0]) * _squares(self._gradient[:, 0])
        if rows * columns <= max(_MAX_HELD, 2 * places * places):
            self._held = torch.bmm(self._gradient.transpose(1, 2), inputs)
            self._inputs = None  # the next layer's copy of its windows goes to the same, warm memory
            return _squares(self._held.flatten(1))
        # ||sum_t g_t a_t^T||^2 = sum over t, s of (a_t . a_s)(g_t . g_s)
        by_input = torch.bmm(inputs, inputs.transpose(1, 2))
        by_gradient = torch.bmm(self._gradient, self._gradient.transpose(1, 2))
        products = by_input.mul_(by_gradient)
        norms = products.sum((1, 2)).clamp_(min=0)
        # Where places nearly cancel what is left is rounding, and too small a norm is no clipping: those the long way.
        bound = products.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt().sum(1).square()
        for row in torch.nonzero(norms < _CANCELS * bound).flatten().tolist():
            norms[row] = (self._gradient[row].t() @ inputs[row]).square().sum()
        return norms

    def weighted_sum(self, factors: Tensor) -> dict[Tensor, Tensor]:
        """Return the weighted sum by weight and bias."""
        sums: dict[Tensor, Tensor] = {}
        if self._weight is not None:
            total = self._matrix_sum(factors)
            sums[self._weight] = self._fold(total) if self._fold else total
        if self._bias is not None:
            sums[self._bias] = factors @ self._bias_gradient
        return sums

    def _matrix_sum(self, factors: Tensor) -> Tensor:
        if self._held is not None:
            return (factors @ self._held.flatten(1)).view(self._held.shape[1:])
        if self._inputs is None:
            raise RuntimeError("the norms come before the sum")
        scaled = (self._gradient * factors[:, None, None]).flatten(0, 1)
        return scaled.t() @ self._inputs.flatten(0, 1)


class EmbeddingGradients:
    """Of a table of vectors, looked up at several places of an example."""

    def __init__(self, indices: Tensor, gradient: Tensor, layer: nn.Embedding) -> None:
        """Take indices (batch, places) and the gradient (batch, places, columns)."""
        self._indices, self._gradient, self._layer = indices, gradient, layer

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm: places that look up the same vector add up before they are squared."""
        is_same = self._indices[:, :, None] == self._indices[:, None, :]  # (batch, places, places)
        products = torch.bmm(self._gradient, self._gradient.transpose(1, 2))
        return torch.where(is_same, products, 0.0).sum((1, 2)).clamp_(min=0)

    def weighted_sum(self, factors: Tensor) -> dict[Tensor, Tensor]:
        """Return the weighted sum by the table."""
        scaled = (self._gradient * factors[:, None, None]).flatten(0, 1)
        total = torch.zeros_like(self._layer.weight).index_add_(0, self._indices.flatten(), scaled)
        return {self._layer.weight: total}


class ScaleGradients:
    """Of a normalisation's scale and shift: small enough to be held for each example."""

    def __init__(self, scale: Tensor, shift: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        """Take each example's gradients by scale and shift, (batch, *shape of the parameter)."""
        pairs = [(weight, scale)] + ([(bias, shift)] if bias is not None else [])
        self._held = [(parameter, gradient) for parameter, gradient in pairs if parameter.requires_grad]
        self._like = scale

    def squared_norms(self) -> Tensor:
        """Return each example's squared norm."""
        total = torch.zeros(len(self._like), device=self._like.device, dtype=self._like.dtype)
        for _, gradient in self._held:
            total = total + _squares(gradient.flatten(1))
        return total

    def weighted_sum(self, factors: Tensor) -> dict[Tensor, Tensor]:
        """Return the weighted sum by scale and shift."""
        return {parameter: torch.tensordot(factors, gradient, 1) for parameter, gradient in self._held}


def _squares(rows: Tensor) -> Tensor:
    """Return the squared norm of each row."""
    squares: Tensor = torch.linalg.vector_norm(rows, dim=1).square_()
    return squares


def gradients_of(layer: nn.Module, records: Sequence[LayerRecord]) -> LayerGradients:
    """Make a layer's gradients out of all its uses in one pass: each use is more places of the same example."""
    return _MAKERS[type(layer)](layer, records)


def knows(layer: nn.Module) -> bool:
    """Tell whether a layer is one of those."""
    if type(layer) is nn.Conv2d:
        return layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if type(layer) is nn.Embedding:
        return (
            layer.max_norm is None and layer.padding_idx is None and not layer.scale_grad_by_freq and not layer.sparse
        )
    if type(layer) in (nn.GroupNorm, nn.LayerNorm):
        return getattr(layer, "weight", None) is not None
    return type(layer) is nn.Linear


def _of_linear(layer: nn.Linear, records: Sequence[LayerRecord]) -> LayerGradients:
    inputs = torch.cat([_places(record.inputs) for record in records], 1) if len(records) > 1 else None
    gradient = torch.cat([_places(record.gradient) for record in records], 1) if len(records) > 1 else None
    if inputs is None or gradient is None:
        inputs, gradient = _places(records[0].inputs), _places(records[0].gradient)
    return MatrixGradients(inputs, gradient, layer.weight, layer.bias)


def _places(values: Tensor) -> Tensor:
    """Bring (batch, ..., columns) to (batch, places, columns)."""
    return values.reshape(len(values), -1, values.shape[-1])


def _of_conv2d(layer: nn.Conv2d, records: Sequence[LayerRecord]) -> LayerGradients:
    gradients = [record.gradient.flatten(2).transpose(1, 2) for record in records]  # (batch, places, rows)
    by_rows = _has_long_rows(layer, records[0].gradient.shape[3])
    windows = [_windows_by_rows(layer, record.inputs) if by_rows else _windows(layer, record) for record in records]
    height, width = layer.kernel_size

    def fold(total: Tensor) -> Tensor:
        if by_rows:  # columns are (kernel row, kernel column, channel)
            return total.view(len(total), height, width, -1).permute(0, 3, 1, 2)
        return total.view(len(total), -1, height, width)

    inputs, gradient = (windows[0], gradients[0]) if len(records) == 1 else (torch.cat(windows, 1), _cat(gradients))
    return MatrixGradients(inputs, gradient, layer.weight, layer.bias, fold)


def _cat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts), 1)


def _has_long_rows(layer: nn.Conv2d, width_out: int) -> bool:
    """Tell which copy of the windows is in longer runs: a kernel's row of all channels, or an output's row."""
    row_of_kernel = layer.kernel_size[1] * layer.in_channels if layer.dilation[1] == 1 else layer.in_channels
    return row_of_kernel > (width_out if layer.stride[1] == 1 else 1)


def _windows(layer: nn.Conv2d, record: LayerRecord) -> Tensor:
    """Copy a convolution's windows, columns (channel, kernel row, kernel column): (batch, places, columns).

    By strides, as ``F.unfold`` does one number after the other.
    """
    padded = _padded(layer, record.inputs)
    batch, channels = padded.shape[:2]
    height, width = record.gradient.shape[2:]
    of_batch, of_channel, of_row, of_column = padded.stride()
    (down, right), (far_down, far_right) = layer.stride, layer.dilation
    windows = padded.as_strided(
        (batch, channels, *layer.kernel_size, height, width),
        (of_batch, of_channel, of_row * far_down, of_column * far_right, of_row * down, of_column * right),
    )
    return windows.reshape(batch, -1, height * width).transpose(1, 2)


def _windows_by_rows(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """Copy a convolution's windows, columns (kernel row, kernel column, channel): (batch, places, columns)."""
    padded = _padded(layer, inputs).permute(0, 2, 3, 1).contiguous()  # (batch, height, width, channel)
    batch, _, _, channels = padded.shape
    of_batch, of_row, of_column, _ = padded.stride()
    (down, right), (far_down, far_right) = layer.stride, layer.dilation
    spans = [
        (size - step * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, step in zip(
            padded.shape[1:3], layer.kernel_size, layer.stride, layer.dilation, strict=True
        )
    ]
    windows = padded.as_strided(
        (batch, *spans, *layer.kernel_size, channels),
        (of_batch, of_row * down, of_column * right, of_row * far_down, of_column * far_right, 1),
    )
    return windows.reshape(batch, spans[0] * spans[1], -1)


def _padded(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    down, right = (int(side) for side in layer.padding)
    return F.pad(inputs, (right, right, down, down)) if down or right else inputs.contiguous()


def _of_embedding(layer: nn.Embedding, records: Sequence[LayerRecord]) -> LayerGradients:
    indices = torch.cat([record.inputs.reshape(len(record.inputs), -1) for record in records], 1)
    return EmbeddingGradients(indices, torch.cat([_places(record.gradient) for record in records], 1), layer)


def _of_group_norm(layer: nn.GroupNorm, records: Sequence[LayerRecord]) -> LayerGradients:
    def both(record: LayerRecord) -> tuple[Tensor, Tensor]:
        normal = F.group_norm(record.inputs, layer.num_groups, eps=layer.eps)
        flat = record.gradient.reshape(*record.gradient.shape[:2], -1)  # (batch, channel, places)
        return (flat * normal.reshape_as(flat)).sum(2), flat.sum(2)

    return _summed(both, records, layer.weight, layer.bias)


def _of_layer_norm(layer: nn.LayerNorm, records: Sequence[LayerRecord]) -> LayerGradients:
    def both(record: LayerRecord) -> tuple[Tensor, Tensor]:
        normal = F.layer_norm(record.inputs, layer.normalized_shape, eps=layer.eps)
        shape = (len(normal), -1, *layer.normalized_shape)  # (batch, places, *normalized shape)
        gradient = record.gradient.reshape(shape)
        return (gradient * normal.reshape(shape)).sum(1), gradient.sum(1)

    return _summed(both, records, layer.weight, layer.bias)


def _summed(
    both: Callable[[LayerRecord], tuple[Tensor, Tensor]],
    records: Sequence[LayerRecord],
    weight: Tensor,
    bias: Tensor | None,
) -> LayerGradients:
    scale, shift = both(records[0])
    for record in itertools.islice(records, 1, None):
        more_scale, more_shift = both(record)
        scale, shift = scale + more_scale, shift + more_shift
    return ScaleGradients(scale, shift, weight, bias)


_MAKERS: dict[type[nn.Module], Callable[..., LayerGradients]] = {
    nn.Linear: _of_linear,
    nn.Conv2d: _of_conv2d,
    nn.Embedding: _of_embedding,
    nn.GroupNorm: _of_group_norm,
    nn.LayerNorm: _of_layer_norm,
}
