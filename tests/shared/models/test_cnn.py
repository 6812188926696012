"""The cheap forward against the same network written with plain layers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shared.errors import ConfigError
from shared.models import onednn
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


@pytest.mark.parametrize("input_shape", SHAPES)
@pytest.mark.parametrize("num_images", [1, 7, 32])
@pytest.mark.parametrize("plain", [False, True])
def test_gradients_written_by_hand_equal_those_of_autograd_through_plain_layers(input_shape, num_images, plain):
    ours, reference = same_two(input_shape)
    ours.plain = plain
    images, labels = torch.rand(num_images, *input_shape), torch.randint(10, (num_images,))
    loss, logits, gradients = ours.loss_and_gradients(images, labels)
    wanted_logits = reference(images)
    wanted_loss = F.cross_entropy(wanted_logits, labels)
    torch.testing.assert_close((loss, logits), (wanted_loss.detach(), wanted_logits.detach()), **TOLERANCE)
    wanted = torch.autograd.grad(wanted_loss, list(reference.parameters()))
    for mine, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, **TOLERANCE)
        assert not mine.requires_grad


def test_windows_of_equal_values_pass_their_gradient_once():
    """Black borders make ties in every pooling window: the gradient must go to one of the four, not to all."""
    ours, reference = same_two((1, 28, 28))
    with torch.no_grad():
        for model in (ours, reference):
            next(p for name, p in model.named_parameters() if name in ("conv1.bias", "0.bias")).fill_(0.5)
    images, labels = torch.zeros(4, 1, 28, 28), torch.arange(4)
    images[:, :, 10:18, 10:18] = torch.rand(4, 1, 8, 8)
    _, _, gradients = ours.loss_and_gradients(images, labels)
    wanted = torch.autograd.grad(F.cross_entropy(reference(images), labels), list(reference.parameters()))
    for mine, theirs in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, **TOLERANCE)


def never(*args: object) -> None:
    raise AssertionError("the cheap way was taken")


def with_a_hook(model: Cnn) -> None:
    model.conv1.register_forward_hook(lambda *_: None)


@pytest.mark.parametrize(
    "change", [lambda model: model.double(), lambda model: setattr(model, "plain", True), with_a_hook]
)
def test_plain_layers_are_used_where_the_cheap_way_does_not_fit(monkeypatch, change):
    model = Cnn((1, 28, 28), 10)
    change(model)
    monkeypatch.setattr(onednn, "features", never)
    monkeypatch.setattr(onednn, "loss_and_gradients", never)
    images = torch.rand(4, 1, 28, 28, dtype=model.conv1.weight.dtype)
    assert model(images).shape == (4, 10)
    assert len(model.loss_and_gradients(images, torch.arange(4))[2]) == 8


def test_another_device_gets_plain_layers(monkeypatch):
    """The meta device computes shapes only, and is no CPU."""
    monkeypatch.setattr(onednn, "features", never)
    assert Cnn((1, 28, 28), 10).to("meta")(torch.empty(4, 1, 28, 28, device="meta")).shape == (4, 10)


def test_torch_without_onednn_gets_plain_layers(monkeypatch):
    monkeypatch.setattr(onednn, "features", never)
    was_enabled = torch._C._get_mkldnn_enabled()
    try:
        torch._C._set_mkldnn_enabled(False)
        assert Cnn((1, 28, 28), 10)(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    finally:
        torch._C._set_mkldnn_enabled(was_enabled)


def test_subclass_that_computes_otherwise_gets_the_gradients_of_what_it_computes():
    class Doubled(Cnn):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(images)

    model = Doubled((1, 28, 28), 10)
    images, labels = torch.rand(3, 1, 28, 28), torch.arange(3)
    loss, logits, _ = model.loss_and_gradients(images, labels)
    torch.testing.assert_close(logits, model(images).detach())
    torch.testing.assert_close(loss, F.cross_entropy(model(images), labels).detach())


def test_no_images_give_no_logits():
    assert Cnn((1, 28, 28), 10)(torch.rand(0, 1, 28, 28)).shape == (0, 10)


def test_input_is_left_as_it_was():
    images = torch.rand(2, 1, 28, 28) - 0.5
    before = images.clone()
    Cnn((1, 28, 28), 10)(images).sum().backward()
    assert torch.equal(images, before)


@pytest.mark.parametrize("input_shape", [(784,), (1, 15, 28), (1, 28, 15), (28, 28)])
def test_input_that_is_no_image_of_16_pixels_is_refused(input_shape):
    with pytest.raises(ConfigError, match=r"model cnn needs images .* use model mlp or linear"):
        Cnn(input_shape, 10)
