"""Book-keeping against Opacus's own optimizer, layer by layer and mixed, and against what a hostile example does."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from client.privacy.book_keeping import BookKeeping, takes
from client.privacy.clipping import Clipper, make_clipper
from client.privacy.hooks import OpacusHooks
from client.privacy.layers import MatrixGradients
from client.privacy.training import check_separable
from shared.errors import ConfigError
from shared.models.catalog import build_model
from shared.privacy.models import check_rows_apart, fix_model

CLASSES = 5


class Tokens(nn.Module):
    """An embedding and a matrix, each used twice, and normalisation over places."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 6)
        self.norm = nn.LayerNorm(6)
        self.inner = nn.Linear(6, 6)
        self.out = nn.Linear(6, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        first = self.norm(self.table(tokens))
        second = self.inner(torch.relu(self.inner(first)))  # one layer, used twice
        return self.out((second + self.table(tokens.flip(1))).mean(1))


class Images(nn.Module):
    """Every kind of convolution that book-keeping knows, with group normalisation between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.norm1 = nn.GroupNorm(4, 8)
        self.conv2 = nn.Conv2d(8, 12, 3, stride=2, bias=False)
        self.norm2 = nn.GroupNorm(2, 12)
        self.conv3 = nn.Conv2d(12, 4, (1, 3), dilation=(1, 2), padding=(0, 2))
        self.out = nn.Linear(4 * 5 * 5, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.norm1(self.conv1(images)))
        features = torch.relu(self.norm2(self.conv2(features)))
        return self.out(torch.relu(self.conv3(features)).flatten(1))


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 11 * 11, CLASSES))


def wide_linear_over_places() -> nn.Module:
    """A matrix so large that its examples' gradients are not held: norms by inner products."""
    return nn.Sequential(nn.Flatten(2), nn.Linear(121, 600), nn.Tanh(), nn.Flatten(), nn.Linear(1800, CLASSES))


def wide_convolution() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 80, 9), nn.Tanh(), nn.Conv2d(80, 100, 3), nn.Flatten(), nn.Linear(100, CLASSES))


def partly_frozen() -> nn.Module:
    model = Images()
    model.conv2.weight.requires_grad_(False)
    model.norm1.bias.requires_grad_(False)
    model.out.weight.requires_grad_(False)
    return model


def images_of(batch: int) -> Tensor:
    return torch.randn(batch, 3, 11, 11)


def tokens_of(batch: int) -> Tensor:
    return torch.randint(0, 11, (batch, 7))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor]]] = {
    "linear": (linear, images_of),
    "linear over places": (wide_linear_over_places, images_of),
    "convolutions and group norm": (Images, images_of),
    "wide convolution": (wide_convolution, images_of),
    "embedding, layer norm, a layer used twice": (Tokens, tokens_of),
    "partly frozen": (partly_frozen, images_of),
}


def opacus_sum(model: nn.Module, inputs: Tensor, labels: Tensor, max_grad_norm: float) -> list[Tensor]:
    """Let Opacus's hooks and its own optimizer clip and sum: nothing of ours takes part."""
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    module = GradSampleModule(copy.deepcopy(model), loss_reduction="sum")
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer = DPOptimizer(
        torch.optim.SGD(parameters, lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=max_grad_norm,
        expected_batch_size=1,
        loss_reduction="sum",
    )
    F.cross_entropy(module(inputs), labels, reduction="sum").backward()
    optimizer.pre_step()
    return [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]


def seeded(name: str, batch: int = 9) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(7)
    make, inputs_of = MODELS[name]
    return make(), inputs_of(batch), torch.randint(0, CLASSES, (batch,))


def difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    assert len(ours) == len(theirs)
    ours_flat, theirs_flat = (torch.cat([part.flatten().double() for part in parts]) for parts in (ours, theirs))
    return float((ours_flat - theirs_flat).norm() / theirs_flat.norm())


opacus_warnings = pytest.mark.filterwarnings("ignore:Full backward hook is firing when gradients are computed")


@opacus_warnings
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("max_grad_norm", [0.05, 1.0, 1e3])
def test_book_keeping_clips_as_opacus_does(name: str, max_grad_norm: float) -> None:
    model, inputs, labels = seeded(name)
    assert takes(model)
    clipper = BookKeeping(model, max_grad_norm)
    result = clipper.clipped_sum(inputs, labels)
    assert difference(result.gradients, opacus_sum(model, inputs, labels, max_grad_norm)) < 1e-6
    assert torch.allclose(result.losses, F.cross_entropy(model(inputs), labels, reduction="none"), atol=1e-6)
    clipper.close()
    assert not any(layer._forward_hooks for layer in model.modules())


@opacus_warnings
@pytest.mark.parametrize("max_grad_norm", [0.1, 100.0])
@pytest.mark.parametrize("plain", [False, True])
def test_the_built_in_network_clips_as_opacus_does_by_either_kernels(max_grad_norm: float, plain: bool) -> None:
    model = build_model("cnn", (1, 28, 28), 10, seed=3)
    torch.manual_seed(5)
    inputs, labels = torch.randn(33, 1, 28, 28), torch.randint(0, 10, (33,))
    theirs = opacus_sum(model, inputs, labels, max_grad_norm)
    model.plain = plain  # type: ignore[assignment]
    clipper = make_clipper(model, max_grad_norm)
    assert difference(clipper.clipped_sum(inputs, labels).gradients, theirs) < 1e-6


@opacus_warnings
def test_our_way_through_opacus_hooks_clips_as_opacus_does() -> None:
    model, inputs, labels = seeded("convolutions and group norm")
    theirs = opacus_sum(model, inputs, labels, 0.3)
    clipper = OpacusHooks(model, 0.3)
    for _ in range(2):  # nothing is left over from the batch before
        assert difference(clipper.clipped_sum(inputs, labels).gradients, theirs) < 1e-6
    clipper.close()
    assert not any(hasattr(parameter, "grad_sample") for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model(inputs).shape == (9, CLASSES)


@opacus_warnings
def test_one_example_is_clipped_to_the_norm_and_a_small_one_is_left_alone() -> None:
    model, inputs, labels = seeded("linear", batch=1)
    clipper = BookKeeping(model, 0.25)
    total = math.sqrt(sum(float(part.square().sum()) for part in clipper.clipped_sum(inputs, labels).gradients))
    assert total == pytest.approx(0.25, rel=1e-4)
    plain = torch.autograd.grad(F.cross_entropy(model(inputs), labels), list(model.parameters()))
    generous = BookKeeping(model, 1e6).clipped_sum(inputs, labels).gradients
    assert difference(generous, list(plain)) < 1e-6


def clippers(model: nn.Module) -> list[Clipper]:
    return [BookKeeping(model, 0.5), OpacusHooks(model, 0.5)]


@opacus_warnings
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("poison", [math.nan, math.inf, 1e38])
def test_an_example_that_is_not_finite_counts_as_zero_and_the_others_as_ever(which: int, poison: float) -> None:
    model, inputs, labels = seeded("convolutions and group norm")
    good = torch.arange(9) != 4
    hostile = inputs.clone()
    hostile[4] = poison
    clipper = clippers(model)[which]
    clean = clipper.clipped_sum(inputs[good], labels[good]).gradients
    got = clipper.clipped_sum(hostile, labels).gradients
    clipper.close()
    assert all(bool(torch.isfinite(part).all()) for part in got)
    if not math.isfinite(poison):
        assert difference(got, clean) < 1e-6


def test_the_built_in_network_bears_an_example_that_is_not_finite() -> None:
    model = build_model("cnn", (1, 28, 28), 10, seed=3)
    torch.manual_seed(5)
    inputs, labels = torch.randn(8, 1, 28, 28), torch.randint(0, 10, (8,))
    clipper = make_clipper(model, 1.0)
    clean = clipper.clipped_sum(inputs[1:], labels[1:]).gradients
    inputs[0, 0, 3, 3] = math.nan
    result = clipper.clipped_sum(inputs, labels)
    assert difference(result.gradients, clean) < 1e-6


@opacus_warnings
def test_a_layer_that_book_keeping_does_not_know_goes_through_opacus() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 9, CLASSES))
    inputs, labels = torch.randn(6, 3, 11), torch.randint(0, CLASSES, (6,))
    theirs = opacus_sum(model, inputs, labels, 0.2)
    clipper = make_clipper(model, 0.2)
    assert isinstance(clipper, OpacusHooks)
    assert difference(clipper.clipped_sum(inputs, labels).gradients, theirs) < 1e-6
    clipper.close()


class OwnScale(nn.Module):
    """A parameter of its own beside known layers: Opacus takes such a module by functorch."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.scale


@opacus_warnings
def test_a_parameter_outside_known_layers_is_clipped_too() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(7, 4), OwnScale(), nn.Linear(4, CLASSES))
    inputs, labels = torch.randn(6, 7), torch.randint(0, CLASSES, (6,))
    theirs = opacus_sum(model, inputs, labels, 0.2)
    clipper = make_clipper(model, 0.2)
    assert isinstance(clipper, OpacusHooks)
    assert difference(clipper.clipped_sum(inputs, labels).gradients, theirs) < 1e-6
    clipper.close()


def test_a_subclass_of_a_known_layer_and_tied_weights_are_not_taken() -> None:
    class Twice(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            return 2 * super().forward(inputs)

    assert not takes(nn.Sequential(Twice(3, 2)))
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    assert not takes(tied)
    assert not takes(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)))
    assert not takes(nn.Sequential(nn.Conv2d(4, 4, 3, padding="same")))
    assert not takes(nn.Sequential(nn.Embedding(4, 4, max_norm=1.0)))
    assert not takes(nn.Sequential(nn.Embedding(4, 4, padding_idx=0))), "Opacus trains the padding's vector too"
    assert not takes(nn.Sequential(nn.ReLU())), "nothing to train"


class MixesBatchAndPlaces(nn.Module):
    """Puts the places of all examples into one dimension: whose gradient is whose can no longer be told."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(4, 4), nn.Linear(4, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        flat = self.inner(inputs.reshape(-1, 4))
        return self.out(flat.view(len(inputs), -1, 4).mean(1))


def test_a_model_that_hides_its_examples_is_refused() -> None:
    model = MixesBatchAndPlaces()
    with pytest.raises(ConfigError, match="examples must be the first dimension of each layer"):
        BookKeeping(model, 1.0).clipped_sum(torch.randn(3, 2, 4), torch.zeros(3, dtype=torch.int64))


def test_batch_normalisation_is_refused_and_fixed() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(6 * 81, CLASSES))
    with pytest.raises(ConfigError, match="1 is a BatchNorm2d"):
        check_separable(model)
    fixed = fix_model(model)
    check_separable(fixed)
    assert takes(fixed)


class Centered(nn.Module):
    """Takes the mean over the batch off each example: every layer is a known one, and every row depends on all."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(inputs - inputs.mean(0))


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_model_whose_own_code_mixes_examples_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match="its output for one example depends on others"):
        check_rows_apart(Centered(), torch.randn(count, 4))


@pytest.mark.parametrize("make", [Tokens, Images, linear])
def test_models_that_keep_examples_apart_pass_and_stay_as_they_are(make: Callable[[], nn.Module]) -> None:
    model = fix_model(make()).train()
    inputs = torch.randint(11, (3, 7)) if make is Tokens else torch.randn(3, 3, 11, 11)
    check_rows_apart(model, inputs)
    inputs[0] = 0 if make is Tokens else math.nan
    check_rows_apart(model, inputs)
    assert model.training


def test_places_that_nearly_cancel_do_not_hide_an_examples_norm() -> None:
    torch.manual_seed(0)
    inputs, gradient = torch.randn(4, 2, 400), 1e3 * torch.randn(4, 2, 300)
    inputs[:3, 1] = inputs[:3, 0]
    gradient[:3, 1] = -gradient[:3, 0] + 1e-1 * torch.randn(3, 300)
    found = MatrixGradients(inputs, gradient, nn.Parameter(torch.zeros(300, 400)), None).squared_norms()
    exact = torch.einsum("btr,btc->brc", gradient.double(), inputs.double()).square().sum((1, 2))
    assert found.double() == pytest.approx(exact, rel=1e-3)
