import sys
import types

import pytest
import torch
from torch import nn

from shared.errors import ConfigError, PluginError
from shared.models.catalog import MODELS, build_model, check_answer


# Counted by hand: 416 + 12,832 + 32,832 + 650; 1,216 + 12,832 + 51,264 + 650; 784 x 10 + 10; 3,072 x 10 + 10;
# 785 x 200 + 201 x 200 + 201 x 10; 3,073 x 200 + 201 x 200 + 201 x 10.
@pytest.mark.parametrize(
    ("name", "input_shape", "num_parameters"),
    [
        ("cnn", (1, 28, 28), 46_730),
        ("cnn", (3, 32, 32), 65_962),
        ("linear", (1, 28, 28), 7_850),
        ("linear", (3, 32, 32), 30_730),
        ("mlp", (1, 28, 28), 199_210),
        ("mlp", (3, 32, 32), 656_810),
    ],
)
def test_number_of_parameters_is_what_the_layers_say(name, input_shape, num_parameters):
    model = build_model(name, input_shape, 10, seed=1)
    assert sum(p.numel() for p in model.parameters()) == num_parameters
    assert model(torch.rand(3, *input_shape)).shape == (3, 10)


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_flat_features_are_taken(name):
    assert build_model(name, (4,), 3, seed=1)(torch.rand(5, 4)).shape == (5, 3)


def test_state_of_the_cnn_loads_into_plain_torch_layers():
    names = list(build_model("cnn", (1, 28, 28), 10, seed=1).state_dict())
    layers = ("conv1", "conv2", "fc1", "fc2")
    assert names == [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    plain = nn.ModuleDict(
        {
            "conv1": nn.Conv2d(1, 16, 5),
            "conv2": nn.Conv2d(16, 32, 5),
            "fc1": nn.Linear(512, 64),
            "fc2": nn.Linear(64, 10),
        }
    )
    plain.load_state_dict(build_model("cnn", (1, 28, 28), 10, seed=1).state_dict())


@pytest.mark.parametrize("name", list(MODELS))
def test_initial_weights_depend_on_the_seed_alone(name):
    def state(seed: int) -> list[torch.Tensor]:
        return list(build_model(name, (1, 28, 28), 10, seed=seed).state_dict().values())

    first = state(7)
    torch.rand(5)
    again = state(7)
    assert all(map(torch.equal, first, again))
    assert not all(map(torch.equal, first, state(8)))


def test_global_random_state_is_left_as_it_was():
    before = torch.get_rng_state()
    build_model("linear", (4,), 2, seed=2**32 - 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(ConfigError, match=r"cnn, linear, mlp or pkg.mod:attr, got 'cmn'"):
        build_model("cmn", (1, 28, 28), 10, seed=1)


@pytest.fixture
def own_models(monkeypatch):
    module = types.ModuleType("own_models")
    monkeypatch.setitem(sys.modules, "own_models", module)
    return module


def test_model_of_ones_own_is_built_by_its_name(own_models):
    own_models.build = lambda input_shape, num_classes: nn.Linear(input_shape[0], num_classes)
    assert isinstance(build_model("own_models:build", (4,), 2, seed=1), nn.Linear)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (3, "must be a function build"),
        (lambda input_shape, num_classes: "net", "must return a torch.nn.Module, got str"),
        (lambda input_shape, num_classes: 1 / 0, "ZeroDivisionError"),
        (lambda: nn.Linear(1, 1), "TypeError"),
    ],
)
def test_model_of_ones_own_that_cannot_be_used_is_refused(own_models, build, message):
    own_models.build = build
    before = torch.get_rng_state()
    with pytest.raises(PluginError, match=message):
        build_model("own_models:build", (4,), 2, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


class Drawing(nn.Module):
    def forward(self, x):
        return torch.rand(len(x), 5)


class Pair(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Linear(3, 4), r"cannot take a batch of shape \(2, 1, 2, 2\) \(RuntimeError: "),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), r"must give logits of shape \(2, 5\), got \(2, 3\)"),
        (Pair(), r"must give logits of shape \(2, 5\), got tuple"),
    ],
)
def test_a_model_that_does_not_answer_with_logits_is_refused(module, message):
    with pytest.raises(PluginError, match=message):
        check_answer(module, "mine:build", torch.zeros(2, 1, 2, 2), 5)


def test_a_model_that_answers_with_logits_passes_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    check_answer(Drawing(), "mine:build", torch.zeros(2, 1, 2, 2), 5)
    assert torch.equal(torch.get_rng_state(), before)
