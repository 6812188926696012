import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from client.optimizers import OptimizerSettings
from client.trainer import TrainSettings, settings_of, train
from shared.config import RunConfig
from shared.errors import DatasetError
from shared.models.cnn import Cnn

PLAIN_SGD = OptimizerSettings(name="sgd", learning_rate=0.1)


class Examples:
    """A client's data in the form the trainer takes; remembers which examples each batch held."""

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        self.inputs, self.labels = inputs, labels
        self.num_examples, self.num_test_examples = len(labels), 0
        self.drawn: list[list[int]] = []

    def train_batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        for part in torch.from_numpy(rng.permutation(self.num_examples)).split(batch_size):
            self.drawn.append(part.tolist())
            yield self.inputs[part], self.labels[part]

    def test_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(())


def ten_examples() -> Examples:
    generator = torch.Generator().manual_seed(5)
    return Examples(torch.randn(10, 4, generator=generator), torch.randint(3, (10,), generator=generator))


def linear(seed: int = 1) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(4, 3)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def state(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def test_one_step_is_the_one_worked_out_by_hand():
    # Two classes, w = 0, x = 1, label 0: p = (1/2, 1/2), so the gradient of w is p - y = (-1/2, 1/2) and the loss ln 2.
    model = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(model.weight)
    result = train(
        model, Examples(torch.ones(1, 1), torch.tensor([0])), TrainSettings(optimizer=PLAIN_SGD, batch_size=4), rng()
    )
    torch.testing.assert_close(model.weight.detach(), torch.tensor([[0.05], [-0.05]]))
    assert result.loss == pytest.approx(math.log(2))
    assert (result.num_examples, result.num_steps) == (1, 1)


def test_training_equals_a_loop_with_torch_optim():
    settings = TrainSettings(
        optimizer=OptimizerSettings(name="sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.01),
        batch_size=4,
        local_epochs=3,
        proximal_mu=0.5,
    )
    ours, reference, start = linear(), linear(), [p.detach() for p in linear().parameters()]
    data = ten_examples()
    result = train(ours, data, settings, rng())
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    losses = []
    for part in data.drawn:
        task = F.cross_entropy(reference(data.inputs[part]), data.labels[part])
        distance = sum(((p - s) ** 2).sum() for p, s in zip(reference.parameters(), start, strict=True))
        optimizer.zero_grad()
        (task + 0.5 / 2 * distance).backward()
        optimizer.step()
        losses.append(task.item() * len(part))
    assert result.loss == pytest.approx(sum(losses) / 30, rel=1e-5)
    for mine, wanted in zip(state(ours), state(reference), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-6)


def test_epochs_draw_each_example_once_each():
    data = ten_examples()
    result = train(linear(), data, TrainSettings(optimizer=PLAIN_SGD, batch_size=4, local_epochs=2), rng())
    assert [len(part) for part in data.drawn] == [4, 4, 2, 4, 4, 2]
    for epoch in (data.drawn[:3], data.drawn[3:]):
        assert sorted(itertools.chain(*epoch)) == list(range(10))
    assert data.drawn[:3] != data.drawn[3:]
    assert result.num_steps == 6


@pytest.mark.parametrize(("steps", "sizes"), [(1, [4]), (3, [4, 4, 2]), (7, [4, 4, 2, 4, 4, 2, 4])])
def test_steps_go_round_the_epochs_and_replace_their_number(steps, sizes):
    data = ten_examples()
    settings = TrainSettings(optimizer=PLAIN_SGD, batch_size=4, local_epochs=5, local_steps=steps)
    result = train(linear(), data, settings, rng())
    assert [len(part) for part in data.drawn] == sizes
    assert (result.num_steps, result.num_examples) == (steps, 10)


def test_a_strong_proximal_term_holds_the_model_at_the_global_one():
    # lr x mu = 1: each step goes back to the start and then one plain step on, so only the last gradient is left.
    data, model, start = ten_examples(), linear(), linear()
    train(model, data, TrainSettings(optimizer=PLAIN_SGD, batch_size=4, local_steps=9, proximal_mu=10.0), rng())
    moved = sum((a - b).norm() ** 2 for a, b in zip(state(model), state(start), strict=True)) ** 0.5
    free = linear()
    train(free, data, TrainSettings(optimizer=PLAIN_SGD, batch_size=4, local_steps=9), rng())
    assert moved < 0.5 * sum((a - b).norm() ** 2 for a, b in zip(state(free), state(start), strict=True)) ** 0.5


def test_accuracy_is_that_of_the_batches_before_their_steps():
    model = linear()
    data = ten_examples()
    with torch.no_grad():
        right = (model(data.inputs).argmax(1) == data.labels).float().mean().item()
    result = train(model, data, TrainSettings(optimizer=PLAIN_SGD, batch_size=10), rng())
    assert result.accuracy == pytest.approx(right)


def dropout_net() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_result_is_bit_equal_whatever_was_done_before(optimizer):
    settings = TrainSettings(
        optimizer=OptimizerSettings(name=optimizer, learning_rate=0.01, momentum=0.9), batch_size=5, local_epochs=2
    )
    first, second = dropout_net(), dropout_net()
    result = train(first, ten_examples(), settings, rng(9))
    torch.rand(17)
    train(dropout_net(), ten_examples(), settings, rng(1))
    assert train(second, ten_examples(), settings, rng(9)) == result
    assert all(map(torch.equal, state(first), state(second)))


def test_another_rng_gives_another_result():
    settings = TrainSettings(optimizer=PLAIN_SGD, batch_size=5)
    first, second = dropout_net(), dropout_net()
    train(first, ten_examples(), settings, rng(1))
    train(second, ten_examples(), settings, rng(2))
    assert not torch.equal(state(first)[0], state(second)[0])


def test_buffers_are_trained_along():
    model = dropout_net()
    train(model, ten_examples(), TrainSettings(optimizer=PLAIN_SGD, batch_size=5), rng())
    assert model[1].num_batches_tracked == 2


def test_frozen_and_unused_parameters_stay_as_they_are():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    model[0].requires_grad_(False)
    model.unused = nn.Parameter(torch.ones(2))
    frozen = model[0].weight.clone()
    train(model, ten_examples(), TrainSettings(optimizer=PLAIN_SGD, batch_size=5), rng())
    assert torch.equal(model[0].weight, frozen)
    assert torch.equal(model.unused, torch.ones(2))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_loss_that_is_not_finite_is_trained_on_and_reported():
    data = ten_examples()
    data.inputs[3, 0] = math.inf
    result = train(linear(), data, TrainSettings(optimizer=PLAIN_SGD, batch_size=2), rng())
    assert result.num_steps == 5
    assert math.isnan(result.loss)


def test_client_without_examples_is_refused_rather_than_waited_for():
    nobody = Examples(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(DatasetError, match="without training examples"):
        train(linear(), nobody, TrainSettings(optimizer=PLAIN_SGD, batch_size=2, local_steps=3), rng())


def test_settings_come_from_the_run():
    config = RunConfig(optimizer="adam", learning_rate=0.02, local_steps=7, batch_size=16, proximal_mu=0.3)
    settings = settings_of(replace(config, weight_decay=0.1, momentum=0.5, local_epochs=4))
    assert settings == TrainSettings(
        optimizer=OptimizerSettings(name="adam", learning_rate=0.02, momentum=0.5, weight_decay=0.1),
        batch_size=16,
        local_epochs=4,
        local_steps=7,
        proximal_mu=0.3,
    )


def test_cnn_learns_a_handful_of_images_by_heart():
    torch.manual_seed(0)
    images = Examples(torch.rand(20, 1, 28, 28), torch.arange(20) % 4)
    settings = TrainSettings(
        optimizer=OptimizerSettings(name="adam", learning_rate=0.003), batch_size=10, local_epochs=40
    )
    model = Cnn((1, 28, 28), 4)
    train(model, images, settings, rng())
    assert train(model, images, replace(settings, local_epochs=1), rng()).accuracy == 1.0


def test_last_single_example_of_an_epoch_is_left_out_where_batches_are_normalised():
    data = ten_examples()
    settings = TrainSettings(optimizer=PLAIN_SGD, batch_size=3, local_epochs=2)
    assert train(dropout_net(), data, settings, rng()).num_steps == 6
    assert train(linear(), data, settings, rng()).num_steps == 8
    assert train(dropout_net(), data, replace(settings, local_steps=7), rng()).num_steps == 7


def test_loss_and_accuracy_of_many_steps_are_those_of_a_simple_count():
    data, model, reference = ten_examples(), linear(), linear()
    result = train(model, data, TrainSettings(optimizer=PLAIN_SGD, batch_size=3, local_epochs=40), rng())
    loss_sum, num_correct = 0.0, 0
    for part in data.drawn:
        logits = reference(data.inputs[part])
        loss = F.cross_entropy(logits, data.labels[part])
        loss_sum += loss.item() * len(part)
        num_correct += (logits.argmax(1) == data.labels[part]).sum().item()
        gradients = torch.autograd.grad(loss, list(reference.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(reference.parameters(), gradients, strict=True):
                parameter.sub_(0.1 * gradient)
    assert result.num_steps == 160
    assert result.loss == pytest.approx(loss_sum / 400, rel=1e-5)
    assert result.accuracy == num_correct / 400
