import itertools
import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from shared.evaluation import Metrics, batches_of, evaluate, merge_metrics


def identity() -> nn.Module:
    """A model whose logits are its inputs."""
    return nn.Identity()


def test_loss_and_accuracy_are_those_worked_out_by_hand():
    # softmax([0, ln 3]) = [1/4, 3/4]: losses ln(4/3) for label 1, ln 4 for label 0; only the first is right.
    inputs = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    metrics = evaluate(identity(), [(inputs, torch.tensor([1, 0]))])
    assert metrics.num_examples == 2
    assert metrics.accuracy == 0.5
    assert metrics.loss == pytest.approx((math.log(4 / 3) + math.log(4)) / 2, rel=1e-6)


def test_last_smaller_batch_counts_by_its_examples():
    inputs, labels = torch.eye(5), torch.tensor([0, 1, 2, 3, 0])
    metrics = evaluate(identity(), batches_of(inputs, labels, 2))
    assert (metrics.num_correct, metrics.num_examples) == (4, 5)


@settings(deadline=None)
@given(st.lists(st.integers(1, 99), unique=True, max_size=5), st.integers(0, 2**16))
def test_shards_add_up_to_the_whole_in_any_order(cuts, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = torch.randn(100, 4, generator=generator), torch.randint(4, (100,), generator=generator)
    edges = [0, *sorted(cuts), 100]
    shards = [
        evaluate(identity(), batches_of(inputs[low:high], labels[low:high], 7))
        for low, high in itertools.pairwise(edges)
    ]
    whole = evaluate(identity(), [(inputs, labels)])
    shuffled = random.Random(seed).sample(shards, len(shards))
    assert merge_metrics(shards) == merge_metrics(shuffled)
    assert merge_metrics(shards).num_correct == whole.num_correct
    assert merge_metrics(shards).loss_sum == pytest.approx(whole.loss_sum, rel=1e-6)


def test_no_examples_give_no_number():
    metrics = evaluate(identity(), [])
    assert metrics == Metrics(loss_sum=0.0, num_correct=0, num_examples=0)
    assert math.isnan(metrics.loss)
    assert math.isnan(metrics.accuracy)


def test_loss_that_is_not_finite_is_reported_as_it_is():
    metrics = evaluate(identity(), [(torch.tensor([[math.nan, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]))])
    assert math.isnan(metrics.loss)


@pytest.mark.parametrize("training", [True, False])
def test_model_is_evaluated_in_evaluation_mode_and_left_in_its_own(training):
    model = nn.Dropout(0.99).train(training)
    metrics = evaluate(model, [(torch.eye(50), torch.arange(50))])
    assert metrics.accuracy == 1.0
    assert model.training is training
