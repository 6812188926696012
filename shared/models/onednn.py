"""The CNN's cheap computation on a CPU: in oneDNN's own tensor layout from the first convolution to the last pooling.

On plain NCHW tensors ``max_pool2d`` alone is a third of a training step, because it cannot be vectorised there, and
each convolution converts its input and output. Tensors in oneDNN's own layout (``to_mkldnn``) need neither. Two more
savings change no number: ReLU comes after pooling (both are monotone, so they commute, and a quarter of the values is
left), and the backward pass is written out by hand, because autograd's book-keeping is 5 to 10% of so small a step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from shared.models.layer_records import LayerRecord

_aten = torch.ops.aten
_MEAN, _IGNORED_LABEL = 1, -100  # cross_entropy's defaults
_POOL, _STRIDE, _NO_PADDING = [2, 2], [1, 1], [0, 0]


def is_there() -> bool:
    """Tell whether this build of torch has oneDNN and nobody switched it off."""
    return torch._C._has_mkldnn and torch._C._get_mkldnn_enabled()


def features(images: Tensor, conv1: nn.Conv2d, conv2: nn.Conv2d) -> Tensor:
    """Compute pool(relu(conv2(pool(relu(conv1(images)))))) for float32 images, with gradients where they are wanted.

    Args:
        images: (batch, channels, height, width), at least one.
        conv1: The first convolution, without padding.
        conv2: The second.

    Returns:
        A dense tensor (batch, channels of conv2, height, width).
    """
    first = torch.mkldnn_max_pool2d(torch.conv2d(images.to_mkldnn(), conv1.weight, conv1.bias), 2, 2).relu()
    second = torch.mkldnn_max_pool2d(torch.conv2d(first, conv2.weight, conv2.bias), 2, 2)
    return second.to_dense().relu()


def loss_and_gradients(
    images: Tensor, labels: Tensor, conv1: nn.Conv2d, conv2: nn.Conv2d, fc1: nn.Linear, fc2: nn.Linear
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Compute the mean cross-entropy of fc2(relu(fc1(features(images)))), its logits, and the layers' gradients.

    Returns:
        The loss, the logits (batch, classes), and the gradients of each layer's weight and bias, in the layers' order.
    """
    with torch.no_grad():
        passed = _forward(images, conv1, conv2, fc1, fc2)
        loss, d_logits = _cross_entropy(passed.logits, labels)
        d_hidden = _relu_backward(d_logits.mm(fc2.weight), passed.hidden)
        d_convolved2 = _to_conv2(d_hidden.mm(fc1.weight), passed)
        d_active1, d_weight2, d_bias2 = _conv_backward(d_convolved2, passed.active1, conv2.weight, by_input=True)
        d_convolved1 = _to_conv1(d_active1, passed)
        _, d_weight1, d_bias1 = _conv_backward(d_convolved1, passed.images, conv1.weight, by_input=False)
        gradients = [
            *(d_weight1, d_bias1, d_weight2, d_bias2),
            *(d_hidden.t().mm(passed.flat), d_hidden.sum(0)),
            *(d_logits.t().mm(passed.hidden), d_logits.sum(0)),
        ]
    return loss, passed.logits, gradients


def losses_and_records(
    images: Tensor, labels: Tensor, conv1: nn.Conv2d, conv2: nn.Conv2d, fc1: nn.Linear, fc2: nn.Linear
) -> tuple[Tensor, Tensor, list[LayerRecord]]:
    """Compute each image's cross-entropy by the same kernels, the logits, and what each layer saw in the pass."""
    with torch.no_grad():
        passed = _forward(images, conv1, conv2, fc1, fc2)
        log_probabilities = torch.log_softmax(passed.logits, 1)
        d_logits = log_probabilities.exp()
        d_logits[torch.arange(len(labels)), labels] -= 1
        d_hidden = _relu_backward(d_logits.mm(fc2.weight), passed.hidden)
        d_convolved2 = _to_conv2(d_hidden.mm(fc1.weight), passed)
        d_active1 = _conv_backward(d_convolved2, passed.active1, conv2.weight, by_input=True, by_weight=False)[0]
        d_convolved1 = _to_conv1(d_active1, passed)
        records = [
            LayerRecord(layer=conv1, inputs=images, gradient=d_convolved1.to_dense()),
            LayerRecord(layer=conv2, inputs=passed.active1.to_dense(), gradient=d_convolved2.to_dense()),
            LayerRecord(layer=fc1, inputs=passed.flat, gradient=d_hidden),
            LayerRecord(layer=fc2, inputs=passed.hidden, gradient=d_logits),
        ]
        losses = -log_probabilities.gather(1, labels[:, None]).squeeze(1)
    return losses, passed.logits, records


class _Pass(NamedTuple):
    """What the forward pass computed, in its order; those up to ``pooled2`` in oneDNN's layout."""

    images: Tensor
    convolved1: Tensor
    pooled1: Tensor
    active1: Tensor
    convolved2: Tensor
    pooled2: Tensor
    flat: Tensor  # (batch, features of fc1), after ReLU
    hidden: Tensor  # after ReLU
    logits: Tensor


def _forward(images: Tensor, conv1: nn.Conv2d, conv2: nn.Conv2d, fc1: nn.Linear, fc2: nn.Linear) -> _Pass:
    blocked = images.to_mkldnn()
    convolved1 = torch.conv2d(blocked, conv1.weight, conv1.bias)
    pooled1 = _pool(convolved1)
    active1 = pooled1.detach().relu()
    convolved2 = torch.conv2d(active1, conv2.weight, conv2.bias)
    pooled2 = _pool(convolved2)
    flat = pooled2.detach().to_dense().relu_().flatten(1)
    hidden = torch.addmm(fc1.bias, flat, fc1.weight.t()).relu_()
    logits = torch.addmm(fc2.bias, hidden, fc2.weight.t())
    return _Pass(blocked, convolved1, pooled1, active1, convolved2, pooled2, flat, hidden, logits)


# From here on d_x is the gradient of the loss by x.


def _to_conv2(d_flat: Tensor, passed: _Pass) -> Tensor:
    d_active2 = _relu_backward(d_flat, passed.flat).view(passed.pooled2.shape)
    return _pool_backward(d_active2.to_mkldnn(), passed.pooled2, passed.convolved2)


def _to_conv1(d_active1: Tensor, passed: _Pass) -> Tensor:
    return _pool_backward(_relu_backward(d_active1, passed.active1), passed.pooled1, passed.convolved1)


def _pool(blocked: Tensor) -> Tensor:
    """Pool and keep which of the four was the largest: oneDNN does so only where autograd asks for it."""
    with torch.enable_grad():
        return torch.mkldnn_max_pool2d(blocked.requires_grad_(), 2, 2)


def _pool_backward(gradient: Tensor, pooled: Tensor, pooled_from: Tensor) -> Tensor:
    result: Tensor = _aten.mkldnn_max_pool2d_backward.default(gradient, pooled, pooled_from, _POOL, _POOL)
    return result


def _relu_backward(gradient: Tensor, active: Tensor) -> Tensor:
    result: Tensor = _aten.threshold_backward.default(gradient, active, 0)
    return result


def _conv_backward(
    gradient: Tensor, images: Tensor, weight: Tensor, *, by_input: bool, by_weight: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by input, weight and bias, None where they are not asked for."""
    result: tuple[Tensor, Tensor, Tensor] = _aten.convolution_backward.default(
        gradient, images, weight, [len(weight)], _STRIDE, _NO_PADDING, _STRIDE, False, _NO_PADDING, 1,
        [by_input, by_weight, by_weight],
    )  # fmt: skip
    return result


def _cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross-entropy and its gradient by the logits: (softmax - one-hot) / batch.

    By the very operations of autograd, so that a training run is the plain network's to the last bit.
    """
    log_probabilities = torch.log_softmax(logits, 1)
    loss, total_weight = _aten.nll_loss_forward.default(log_probabilities, labels, None, _MEAN, _IGNORED_LABEL)
    by_log_probabilities = _aten.nll_loss_backward.default(
        torch.ones(()), log_probabilities, labels, None, _MEAN, _IGNORED_LABEL, total_weight
    )
    d_logits = _aten._log_softmax_backward_data.default(by_log_probabilities, log_probabilities, 1, logits.dtype)
    return loss, d_logits
