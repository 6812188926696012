"""A small convolutional network for images: conv5x5(16) - pool - conv5x5(32) - pool - fc64 - fc.

46,730 parameters at 1 x 28 x 28 and ten classes. The names and shapes of its ``state_dict`` are those of plain layers
(``conv1.weight`` ... ``fc2.bias``), so that ``torch.nn`` alone can load it.

On a CPU the forward is a cheaper one that equals the plain one up to rounding. PyTorch's ``max_pool2d`` on NCHW is the
dearest operator of the plain network there: 36% of a training step. So, on a CPU:

* training makes the first activation channels_last, where pooling and the second convolution are vectorised;
* ReLU comes after pooling: max and ReLU commute, and there is a quarter of the values left;
* evaluation pools with ``torch.maximum`` over strided views: no indices for a backward pass are kept.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.errors import ConfigError

KERNEL = 5
MIN_SIDE = 16  # pixels: the smallest side that two convolutions and two poolings leave at least one value of


class Cnn(nn.Module):
    """The network; ``forward`` gives logits of shape (batch, num_classes)."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        """Draw the initial weights from torch's global random state.

        Raises:
            ConfigError: The input is not an image of at least 16 x 16 pixels.
        """
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < MIN_SIDE:
            shape = " x ".join(map(str, input_shape))
            raise ConfigError(
                f"model cnn needs images (channels x height x width) of at least {MIN_SIDE} x {MIN_SIDE} pixels, "
                f"but the data is {shape}; use model mlp or linear"
            )
        channels, height, width = input_shape
        self.conv1 = nn.Conv2d(channels, 16, KERNEL)
        self.conv2 = nn.Conv2d(16, 32, KERNEL)
        self.fc1 = nn.Linear(32 * _side_left(height) * _side_left(width), 64)
        self.fc2 = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits by whatever is cheapest where the images are."""
        if images.device.type != "cpu":
            features = self._features(images)
        elif torch.is_grad_enabled():
            features = self._features_for_training_on_cpu(images)
        else:
            features = self._features_for_evaluation_on_cpu(images)
        hidden = self.fc1(features.flatten(1)).relu_()  # (batch, 64)
        logits: Tensor = self.fc2(hidden)
        return logits

    def _features(self, images: Tensor) -> Tensor:
        first = F.max_pool2d(F.relu(self.conv1(images)), 2)  # (batch, 16, height, width)
        return F.max_pool2d(F.relu(self.conv2(first)), 2)  # (batch, 32, height, width)

    def _features_for_training_on_cpu(self, images: Tensor) -> Tensor:
        first = self.conv1(images).contiguous(memory_format=torch.channels_last)
        first = F.max_pool2d(first, 2).relu_()
        return F.max_pool2d(self.conv2(first), 2).relu_()

    def _features_for_evaluation_on_cpu(self, images: Tensor) -> Tensor:
        first = _pool_without_indices(self.conv1(images)).relu_()
        return _pool_without_indices(self.conv2(first)).relu_()


def build(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Build the network for images of shape (channels, height, width)."""
    return Cnn(input_shape, num_classes)


def _side_left(side: int) -> int:
    """Pixels that are left of one side after both convolutions and poolings."""
    for _ in range(2):
        side = (side - KERNEL + 1) // 2
    return side


def _pool_without_indices(values: Tensor) -> Tensor:
    """Take the maximum of each 2 x 2 window; an odd last row or column is left out, as ``max_pool2d`` does."""
    height, width = values.shape[-2] // 2 * 2, values.shape[-1] // 2 * 2
    rows = torch.maximum(values[..., 0:height:2, :], values[..., 1:height:2, :])
    return torch.maximum(rows[..., 0:width:2], rows[..., 1:width:2])
