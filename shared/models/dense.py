"""Models without convolutions: they take images of any shape and flat features alike."""

from __future__ import annotations

import math

from torch import Tensor, nn

HIDDEN = 200  # units of each of the two hidden layers: "2NN" of McMahan et al., AISTATS 2017, sec. 3


class Linear(nn.Module):
    """Multinomial logistic regression: one linear layer over the flattened input."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        """Draw the initial weights from torch's global random state."""
        super().__init__()
        self.fc = nn.Linear(math.prod(input_shape), num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits of shape (batch, num_classes)."""
        logits: Tensor = self.fc(inputs.flatten(1))
        return logits


class Mlp(nn.Module):
    """Two hidden layers of 200 ReLU units: 199,210 parameters at 28 x 28 pixels and ten classes."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        """Draw the initial weights from torch's global random state."""
        super().__init__()
        self.fc1 = nn.Linear(math.prod(input_shape), HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, HIDDEN)
        self.fc3 = nn.Linear(HIDDEN, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute logits of shape (batch, num_classes)."""
        hidden = self.fc1(inputs.flatten(1)).relu_()
        hidden = self.fc2(hidden).relu_()
        logits: Tensor = self.fc3(hidden)
        return logits


def build_linear(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Build the linear model."""
    return Linear(input_shape, num_classes)


def build_mlp(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Build the two-hidden-layer network."""
    return Mlp(input_shape, num_classes)
