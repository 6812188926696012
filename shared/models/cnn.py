"""A small convolutional network for images: conv5x5(16) - pool - conv5x5(32) - pool - fc64 - fc.

46,730 parameters at 1 x 28 x 28 and ten classes. The names and shapes of its ``state_dict`` are those of plain layers
(``conv1.weight`` ... ``fc2.bias``), so that ``torch.nn`` alone can load it.

On a CPU with oneDNN the convolutional part is computed by ``shared.models.onednn``: the same numbers as the plain
layers, at about half the cost of a training step and a quarter of an evaluation's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.errors import ConfigError
from shared.models import onednn
from shared.models.layer_records import LayerRecord

KERNEL = 5
MIN_SIDE = 16  # pixels: the smallest side that two convolutions and two poolings leave at least one value of


class Cnn(nn.Module):
    """The network; ``forward`` gives logits of shape (batch, num_classes).

    Attributes:
        plain: Set it to compute by plain layers everywhere, for whoever needs to look inside (``torch.func.vmap``).
            Where a layer has hooks the plain layers are used anyway, so that the hooks are called.
    """

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
        self.plain = False
        self.conv1 = nn.Conv2d(channels, 16, KERNEL)
        self.conv2 = nn.Conv2d(16, 32, KERNEL)
        self.fc1 = nn.Linear(32 * _side_left(height) * _side_left(width), 64)
        self.fc2 = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits by whatever is cheapest where the images are."""
        if self._takes_onednn(images):
            features = onednn.features(images, self.conv1, self.conv2)
        else:
            features = F.max_pool2d(F.relu(self.conv1(images)), 2)  # (batch, 16, height, width)
            features = F.max_pool2d(F.relu(self.conv2(features)), 2)  # (batch, 32, height, width)
        hidden = F.relu(self.fc1(features.flatten(1)))  # (batch, 64)
        logits: Tensor = self.fc2(hidden)
        return logits

    def loss_and_gradients(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Compute the mean cross-entropy, the logits, and the gradients of ``parameters()``, in their order.

        The trainer calls this in place of autograd, which costs 5 to 10% of a step of such a small network.
        """
        if self._takes_onednn(images):
            return onednn.loss_and_gradients(images, labels, self.conv1, self.conv2, self.fc1, self.fc2)
        logits = self(images)
        loss = F.cross_entropy(logits, labels)
        return loss.detach(), logits.detach(), list(torch.autograd.grad(loss, list(self.parameters())))

    def losses_and_records(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, list[LayerRecord]] | None:
        """Compute each image's cross-entropy, the logits, and what each layer saw, for gradients of single images."""
        if self._takes_onednn(images):
            return onednn.losses_and_records(images, labels, self.conv1, self.conv2, self.fc1, self.fc2)
        return None

    def _takes_onednn(self, images: Tensor) -> bool:
        layers = (self.conv1, self.conv2, self.fc1, self.fc2)
        return (
            type(self) is Cnn  # a subclass may change what is between the layers
            and not self.plain
            and images.device.type == "cpu"
            and images.dtype is self.conv1.weight.dtype is torch.float32
            and len(images) > 0
            and onednn.is_there()
            and not any(layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks for layer in layers)
        )


def build(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Build the network for images of shape (channels, height, width)."""
    return Cnn(input_shape, num_classes)


def _side_left(side: int) -> int:
    """Pixels that are left of one side after both convolutions and poolings."""
    for _ in range(2):
        side = (side - KERNEL + 1) // 2
    return side
