"""The cheap forward against the same network written with plain layers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shared.errors import ConfigError
from shared.models.cnn import Cnn

# Both orders of the same sums in float32: a few ulps of values around 1.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
SHAPES = [(1, 28, 28), (3, 32, 32), (1, 16, 16), (3, 29, 35)]


def plain_layers(input_shape: tuple[int, ...]) -> nn.Sequential:
    channels, height, width = input_shape
    left = 32 * (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2)
    return nn.Sequential(
        *(nn.Conv2d(channels, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(left, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def same_two(input_shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    """Return our network and the plain one with the same parameters."""
    torch.manual_seed(3)
    ours, plain = Cnn(input_shape, 10), plain_layers(input_shape)
    for target, source in zip(plain.parameters(), ours.parameters(), strict=True):
        target.data.copy_(source.data)
    return ours, plain


@pytest.mark.parametrize("input_shape", SHAPES)
@pytest.mark.parametrize("num_images", [1, 7, 32])
def test_logits_and_gradients_in_training_equal_those_of_plain_layers(input_shape, num_images):
    ours, plain = same_two(input_shape)
    images, labels = torch.rand(num_images, *input_shape), torch.randint(10, (num_images,))
    gradients = []
    for model in (ours, plain):
        logits = model(images)
        loss = F.cross_entropy(logits, labels)
        gradients.append((logits, *torch.autograd.grad(loss, list(model.parameters()))))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, **TOLERANCE)


@pytest.mark.parametrize("input_shape", SHAPES)
@pytest.mark.parametrize("without_gradients", [torch.no_grad, torch.inference_mode])
def test_logits_in_evaluation_equal_those_of_plain_layers(input_shape, without_gradients):
    ours, plain = same_two(input_shape)
    images = torch.rand(100, *input_shape)
    with without_gradients():
        torch.testing.assert_close(ours(images), plain(images), **TOLERANCE)


def test_another_device_gets_plain_operations():
    """The meta device computes shapes only; the cheap forward is not taken on it."""
    model = Cnn((1, 28, 28), 10).to("meta")
    taken = []
    model._features_for_training_on_cpu = model._features_for_evaluation_on_cpu = taken.append  # type: ignore[method-assign]
    assert model(torch.empty(4, 1, 28, 28, device="meta")).shape == (4, 10)
    assert not taken


def test_input_is_left_as_it_was():
    images = torch.rand(2, 1, 28, 28) - 0.5
    before = images.clone()
    Cnn((1, 28, 28), 10)(images).sum().backward()
    assert torch.equal(images, before)


@pytest.mark.parametrize("input_shape", [(784,), (1, 15, 28), (1, 28, 15), (28, 28)])
def test_input_that_is_no_image_of_16_pixels_is_refused(input_shape):
    with pytest.raises(ConfigError, match=r"model cnn needs images .* use model mlp or linear"):
        Cnn(input_shape, 10)
