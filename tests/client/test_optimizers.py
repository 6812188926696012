"""Our updates against ``torch.optim``, on the same gradients."""

import pytest
import torch

from client.optimizers import OptimizerSettings, make_optimizer
from shared.errors import ConfigError

SHAPES = [(3, 4), (5,), (2, 3, 2)]


def random_tensors(seed: int, dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape in SHAPES]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize(
    ("name", "momentum", "theirs"),
    [
        ("sgd", 0.0, lambda p, wd: torch.optim.SGD(p, lr=0.05, weight_decay=wd)),
        ("sgd", 0.9, lambda p, wd: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=wd)),
        ("adam", 0.9, lambda p, wd: torch.optim.Adam(p, lr=0.05, weight_decay=wd)),
        ("adamw", 0.9, lambda p, wd: torch.optim.AdamW(p, lr=0.05, weight_decay=wd)),
    ],
)
def test_steps_equal_those_of_torch_optim(name, momentum, theirs, weight_decay, dtype):
    ours = random_tensors(0, dtype)
    reference = [tensor.clone().requires_grad_() for tensor in ours]
    settings = OptimizerSettings(name=name, learning_rate=0.05, momentum=momentum, weight_decay=weight_decay)
    optimizer, torch_optimizer = make_optimizer(settings), theirs(reference, weight_decay)
    for step in range(1, 12):
        gradients = random_tensors(step, dtype)
        for parameter, gradient in zip(reference, gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step(ours, gradients)
        torch_optimizer.step()
    for mine, wanted in zip(ours, reference, strict=True):
        torch.testing.assert_close(mine, wanted.detach(), rtol=1e-6, atol=1e-7)


def test_two_steps_of_sgd_with_momentum_are_those_worked_out_by_hand():
    # w = 1, g = 2, lr = 0.1, m = 0.5: v = 2, w = 0.8; v = 3, w = 0.5.
    optimizer = make_optimizer(OptimizerSettings(name="sgd", learning_rate=0.1, momentum=0.5))
    parameter = torch.ones(1)
    for wanted in (0.8, 0.5):
        optimizer.step([parameter], [torch.full((1,), 2.0)])
        assert parameter.item() == pytest.approx(wanted)


def test_first_step_of_adam_is_the_learning_rate_against_the_sign_of_the_gradient():
    optimizer = make_optimizer(OptimizerSettings(name="adam", learning_rate=0.1))
    parameter = torch.zeros(2)
    optimizer.step([parameter], [torch.tensor([5.0, -0.01])])
    torch.testing.assert_close(parameter, torch.tensor([-0.1, 0.1]), rtol=1e-5, atol=0)


def test_unknown_optimizer_is_refused():
    with pytest.raises(ConfigError, match="one of sgd, adam, adamw, got 'lion'"):
        make_optimizer(OptimizerSettings(name="lion", learning_rate=0.1))
