"""Models are made such that each example keeps to itself, the same on both sides."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from shared.errors import ConfigError
from shared.models.catalog import build_model
from shared.privacy.models import check_separable, fix_model


def own_build(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 48, 3),
        nn.BatchNorm2d(48),
        nn.Sequential(nn.ReLU(), nn.BatchNorm2d(48, affine=False)),
        nn.InstanceNorm2d(48, track_running_stats=True, affine=True),
        nn.Flatten(),
        nn.LazyLinear(64),
        nn.BatchNorm1d(64),
        nn.Linear(64, num_classes),
    )


def test_every_batch_normalisation_becomes_group_normalisation_wherever_it_stands() -> None:
    model = own_build((1, 8, 8), 5)
    model(torch.randn(4, 1, 8, 8))
    with pytest.raises(ConfigError, match="1 is a BatchNorm2d"):
        check_separable(model)
    fixed = fix_model(model)
    check_separable(fixed)
    assert isinstance(fixed[1], nn.GroupNorm)  # type: ignore[index]
    assert fixed[1].num_groups == 16  # type: ignore[index] # gcd(32, 48)
    assert fixed[6].num_groups == 1  # type: ignore[index] # one feature alone would always be 0
    assert fixed[2][1].weight is None  # type: ignore[index]
    assert not list(fixed.buffers()), "nothing remembers the data"


def test_an_example_answers_alike_whoever_is_beside_it() -> None:
    torch.manual_seed(1)
    model = own_build((1, 8, 8), 5)
    model(torch.randn(4, 1, 8, 8))
    fixed = fix_model(model).train()
    examples = torch.randn(6, 1, 8, 8)
    together = fixed(examples)
    alone = torch.cat([fixed(example[None]) for example in examples])
    assert torch.allclose(together, alone, atol=1e-5)


def test_both_sides_build_the_same_private_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, num_classes))

    module = type(sys)("own_models")
    module.build = build  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_models", module)
    one, other = (build_model("own_models:build", (1, 8, 8), 3, 7, private=True) for _ in range(2))
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    plain = build_model("own_models:build", (1, 8, 8), 3, 7)
    assert torch.equal(plain.state_dict()["1.weight"], one.state_dict()["1.weight"])
    assert "2.running_mean" in plain.state_dict()
    assert "2.running_mean" not in one.state_dict()


def test_a_whole_model_that_is_one_batch_normalisation_is_replaced() -> None:
    assert isinstance(fix_model(nn.BatchNorm2d(6)), nn.GroupNorm)


def test_recurrent_layers_become_opacus_own_with_the_same_weights() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.LSTM(5, 4, batch_first=True))
    expected = model[0](torch.ones(2, 3, 5))[0]
    fixed = fix_model(model)
    assert type(fixed[0]).__name__ == "DPLSTM"  # type: ignore[index]
    assert torch.allclose(fixed[0](torch.ones(2, 3, 5))[0], expected, atol=1e-6)  # type: ignore[index]


def test_the_built_in_models_need_no_mending() -> None:
    for name in ("cnn", "mlp", "linear"):
        model = build_model(name, (1, 28, 28), 10, 1)
        assert fix_model(model) is model
        check_separable(model)
